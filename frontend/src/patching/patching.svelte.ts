import { untrack } from "svelte";
import type { PatchNode, PatchPlace } from "../../../backend/circuits/patch.ts";
import type {
  Candidate,
  PairAlignment,
  PairInput,
  PatchRequest,
  PatchResponse,
  Prompt,
} from "../../../backend/server/api.ts";
import { fileLine } from "../ablation/commands.ts";
import { ApiError, post, stream } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { command } from "../command.ts";
import { promptBos } from "../state/prompt.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { EXAMPLES, repeatedPair } from "./pairs.ts";
import { by, into, kind, node, pairsParam, shownPair, through } from "./params.ts";
import { oddLength, placesOf } from "./restored.ts";

/** A finished patching, with what it was asked. */
export interface Patched {
  readonly response: PatchResponse;
  readonly alignments: readonly PairAlignment[];
  readonly node: PatchNode;
  readonly by: PatchPlace;
  /** Absent where nodes were patched. */
  readonly path?: { readonly into: readonly string[]; readonly through: "q" | "k" | "v" };
}

/** The likeliest next tokens of both prompts. */
export interface Suggestions {
  readonly clean: readonly Candidate[];
  readonly corrupt: readonly Candidate[];
}

/** Changes that follow each other faster than this are answered once, in milliseconds. */
const PAUSE = 250;

const BROKEN_OFF = {
  type: "about:blank",
  title: "Not done",
  status: 0,
  detail: "the server ended the patching without a result",
  remedy: "patch again",
  kind: "network",
};

/** The pairs of prompts, what is known of them, and what patching them shows. */
class Patching {
  readonly alignments = new Latest<readonly PairAlignment[]>();
  readonly suggestions = new Latest<Suggestions>();
  readonly result = new Latest<Patched>();
  progress = $state.raw<{ done: number; total: number }>();
  #alignKey = "";
  #patchKey = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  readonly textual: boolean = $derived(workspace.info.value?.tokenizer !== undefined);

  /** The pairs as asked, or the example that fits the model; none while the model is unknown. */
  readonly pairs: readonly PairInput[] = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return [];
    if (pairsParam.value.length > 0) return pairsParam.value;
    return [this.textual ? Object.values(EXAMPLES)[0]! : repeatedPair(info.config.d_vocab, info.config.n_ctx)];
  });

  readonly index: number = $derived(Math.min(shownPair.value, Math.max(0, this.pairs.length - 1)));
  readonly pair: PairInput | undefined = $derived(this.pairs[this.index]);
  readonly alignment: PairAlignment | undefined = $derived(this.alignments.value?.[this.index]);

  /** The place that is patched: of a node without heads never a head. */
  readonly by: PatchPlace = $derived.by(() => {
    const places = placesOf(node.value);
    return places.includes(by.value) ? by.value : places[0]!;
  });

  readonly #bos = $derived(this.textual && promptBos.value !== "auto" ? { bos: promptBos.value === "on" } : {});

  /** What POST /api/patch takes; undefined while there is nothing to ask. */
  readonly request: PatchRequest | undefined = $derived.by(() => {
    if (this.pairs.length === 0) return undefined;
    const common = { model: workspace.model, pairs: this.pairs, ...this.#bos };
    if (kind.value === "node") return { ...common, node: node.value, by: this.by };
    return into.value.length === 0 ? undefined : { ...common, into: into.value, through: through.value };
  });

  /** Why nothing can be patched, with the pair that is to blame; undefined where it can. */
  readonly problem: string | undefined = $derived.by(() => {
    const found = this.alignments.value ?? [];
    const at = found.findIndex(({ problem }) => problem !== undefined);
    if (at >= 0) return this.pairs.length > 1 ? `Pair ${at + 1}: ${found[at]!.problem}` : found[at]!.problem;
    return kind.value === "node" && this.by === "position" ? oddLength(found) : undefined;
  });

  /** The line that gives the same numbers; it writes the pair file first. */
  readonly command: string = $derived.by(() => {
    const path = kind.value === "path";
    const line = command(["patch"], {
      model: workspace.model,
      "pair-file": "pair.json",
      node: path ? undefined : node.value,
      by: path ? undefined : this.by,
      into: path && into.value.length > 0 ? into.value.join(",") : undefined,
      through: path ? through.value : undefined,
      "prepend-bos": this.textual && promptBos.value === "on",
      "no-prepend-bos": this.textual && promptBos.value === "off",
    });
    return `${fileLine("pair.json", this.pairs.length === 1 ? this.pairs[0] : this.pairs)} && ${line}`;
  });

  /** Changes the pair that is shown, in one step of undo. */
  change(changes: Partial<PairInput>): void {
    if (this.pair !== undefined) pairsParam.value = this.pairs.with(this.index, { ...this.pair, ...changes });
  }

  /** Aligns the pairs where they have changed, then patches. Run in an effect. */
  follow(): void {
    if (workspace.info.value === undefined || this.pairs.length === 0) return;
    const key = JSON.stringify([workspace.info.value.digest, this.pairs, this.#bos]);
    if (key !== this.#alignKey) {
      this.#alignKey = key;
      const { pairs } = this;
      untrack(() => this.alignments.ask((signal) => this.#align(pairs, signal)));
    }
    const { outcome } = this.alignments;
    const asked = outcome.state === "ready" && this.problem === undefined ? this.request : undefined;
    const patchKey = asked === undefined ? "" : JSON.stringify([key, asked]);
    if (patchKey === this.#patchKey || outcome.state === "loading") return;
    this.#patchKey = patchKey;
    clearTimeout(this.#timer);
    if (asked === undefined) untrack(() => this.result.clear());
    else this.#timer = setTimeout(() => this.again(), PAUSE);
  }

  /** Asks for the likeliest next tokens of the pair that is shown. Run in an effect. */
  suggest(): void {
    const { pair } = this;
    const { model } = workspace;
    if (workspace.info.value === undefined || pair === undefined || this.alignments.outcome.state !== "ready") return;
    const next = async (side: PairInput["clean"], signal: AbortSignal): Promise<readonly Candidate[]> => {
      const input = typeof side === "string" ? { model, text: side, ...this.#bos } : { model, tokens: side };
      return (await post<Prompt>("/api/prompts", input, signal)).next;
    };
    untrack(() =>
      this.suggestions.ask(async (signal) => ({
        clean: await next(pair.clean, signal),
        corrupt: await next(pair.corrupt, signal),
      })),
    );
  }

  /** Patches what is asked for now. */
  again(): void {
    const { request } = this;
    if (request === undefined) return;
    const alignments = this.alignments.value ?? [];
    const path = request.into && { into: request.into, through: request.through! };
    this.progress = undefined;
    this.result.ask(async (signal) => {
      for await (const { event, data } of stream("/api/patch", request, signal)) {
        if (event === "progress") this.progress = data as { done: number; total: number };
        else if (event === "done") {
          const { node = "z", by = "head" } = request;
          return { response: data as PatchResponse, alignments, node, by, ...(path ? { path } : {}) };
        }
      }
      throw new ApiError(BROKEN_OFF);
    });
  }

  /** One pair after the other: the server computes one at a time. */
  async #align(pairs: readonly PairInput[], signal: AbortSignal): Promise<PairAlignment[]> {
    const { model } = workspace;
    const found: PairAlignment[] = [];
    for (const pair of pairs)
      found.push(await post<PairAlignment>("/api/pairs", { model, pair, ...this.#bos }, signal));
    return found;
  }
}

export const patching = new Patching();
