import type { PairAlignment, PairInput, PatchRequest, PatchResponse } from "../../../backend/common/api/patching.ts";
import type { Candidate, Prompt } from "../../../backend/common/api/prompts.ts";
import { command, fileLine } from "../../../backend/common/command-line.ts";
import type { MetricName } from "../../../backend/common/metrics.ts";
import type {
  PatchDirection,
  PatchMethod,
  PatchNode,
  PatchPlace,
  PathEnd,
  PathMlps,
} from "../../../backend/common/patching.ts";
import { ApiError, type CallOptions, post, problem, stream } from "../api/client.ts";
import { Answer, type Ask, type FollowOptions } from "../state/answer.svelte.ts";
import { hold, positionIn } from "../state/hold.ts";
import { promptBos } from "../state/prompt.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { EXAMPLES, meantToken, TOKEN_EXAMPLES } from "./pair/pairs.ts";
import {
  by,
  direction,
  into,
  kind,
  kvGroup,
  mlps,
  node,
  pairMetric,
  pairsParam,
  patchMethod,
  positionParam,
  senders,
  shownPair,
  through,
} from "./params.ts";
import { oddLength, placesOf } from "./result/restoration.ts";

/** A patching as the page asks for it: by places that it draws. */
type PlacesRequest = Omit<PatchRequest, "by" | "group"> & { readonly by?: PatchPlace | undefined };

/** A finished patching, with what it was asked. */
export interface Patched {
  readonly response: PatchResponse;
  readonly pairs: readonly PairInput[];
  readonly alignments: readonly PairAlignment[];
  readonly node: PatchNode;
  readonly by: PatchPlace;
  readonly direction: PatchDirection;
  readonly metric: MetricName;
  readonly method: PatchMethod;
  /** Absent where nodes were patched. */
  readonly path?: { readonly into: readonly string[]; readonly through?: PathEnd; readonly mlps: PathMlps };
}

/** The likeliest next tokens of both prompts. */
export interface Suggestions {
  readonly clean: readonly Candidate[];
  readonly corrupt: readonly Candidate[];
}

/** Changes that follow each other faster than this are answered once, in milliseconds. */
const PAUSE = 250;
/** Seconds that a patching may take unasked: it says how far it is, can be given up, and keeps nobody waiting. */
const PATIENCE = 90;

/** The pairs of prompts, what is known of them, and what patching them shows. */
class Patching {
  readonly alignments = new Answer<readonly PairAlignment[]>();
  readonly suggestions = new Answer<Suggestions>();
  readonly result = new Answer<Patched>();
  #progress = $state.raw<{ id: string | undefined; done: number; total: number }>();
  /** Answers that the reader has taken although another one was meant, so it seemed; as JSON. */
  #meant = $state.raw<ReadonlySet<string>>(new Set());

  readonly textual: boolean = $derived(workspace.info.value?.tokenizer !== undefined);

  /** Examples that fit the model, by what they show. */
  readonly examples: Readonly<Record<string, PairInput>> = $derived.by(() => {
    const info = workspace.info.value;
    if (this.textual || info === undefined) return this.textual ? EXAMPLES : {};
    const { d_vocab, n_ctx } = info.config;
    return Object.fromEntries(Object.entries(TOKEN_EXAMPLES).map(([name, make]) => [name, make(d_vocab, n_ctx)]));
  });

  /** The pairs as asked, or the example that fits the model; none while the model is unknown. */
  readonly pairs: readonly PairInput[] = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return [];
    if (pairsParam.value.length > 0) return pairsParam.value;
    return Object.values(this.examples).slice(0, 1);
  });

  readonly index: number = $derived(Math.min(shownPair.value, Math.max(0, this.pairs.length - 1)));
  readonly pair: PairInput | undefined = $derived(this.pairs[this.index]);
  readonly alignment: PairAlignment | undefined = $derived(this.alignments.value?.[this.index]);

  /** The place that is patched: of a node without heads never a head. */
  readonly by: PatchPlace = $derived.by(() => {
    const places = placesOf(node.value);
    return places.includes(by.value) ? by.value : places[0]!;
  });

  /** BOS of texts as the reader has it, where that is not the tokenizer's way. */
  readonly bos = $derived(this.textual && promptBos.value !== "auto" ? { bos: promptBos.value === "on" } : {});

  /** The body of POST /api/patch; undefined while there is nothing to ask. */
  readonly request: PlacesRequest | undefined = $derived.by(() => {
    if (this.pairs.length === 0) return undefined;
    const common = { model: workspace.model, pairs: this.pairs, ...this.bos, ...this.choices };
    if (kind.value === "node") {
      const estimated = patchMethod.value === "exact" ? {} : { method: patchMethod.value };
      return { ...common, node: node.value, by: this.by, ...estimated };
    }
    if (into.value.length === 0) return undefined;
    const ends = this.intoHeads ? { through: through.value, ...(this.wholeGroups ? { kvGroup: true } : {}) } : {};
    const from = this.from === undefined ? {} : { from: this.from };
    return { ...common, into: into.value, ...ends, mlps: mlps.value, ...from };
  });

  /** The direction and the metric, where they are not the usual ones. */
  readonly choices: Pick<PlacesRequest, "direction" | "metric"> = $derived({
    ...(direction.value === "denoise" ? {} : { direction: direction.value }),
    ...(pairMetric.value === "logit-diff" ? {} : { metric: pairMetric.value }),
  });

  /** The senders of paths, where these are not the heads alone. */
  readonly from: readonly string[] | undefined = $derived(
    senders.value === "heads" || workspace.info.value?.config.attn_only === true
      ? undefined
      : ["heads", "mlps", "embed"],
  );

  /** True if a receiver of the paths is a head, so that the path ends in one of its inputs. */
  readonly intoHeads: boolean = $derived(into.value.some((name) => name.includes(".")));

  /** True if whole KV heads receive; through queries there are none. */
  readonly wholeGroups: boolean = $derived(kvGroup.value && through.value !== "q");

  /** Why a pair can be asked nothing, with its number among several; undefined where all can. */
  readonly unequal: string | undefined = $derived.by(() => {
    const found = this.alignments.value ?? [];
    const at = found.findIndex(({ problem }) => problem !== undefined);
    if (at < 0) return undefined;
    return this.pairs.length > 1 ? `Pair ${at + 1}: ${found[at]!.problem}` : found[at]!.problem;
  });

  /** Why nothing can be patched, with the pair that is to blame; undefined where it can. */
  readonly problem: string | undefined = $derived.by(() => {
    if (this.unequal !== undefined) return this.unequal;
    return kind.value === "node" && this.by === "position" ? oddLength(this.alignments.value ?? []) : undefined;
  });

  /** The line that gives the same numbers; it writes the pair file first. */
  readonly command: string = $derived.by(() => {
    const path = kind.value === "path";
    const ends = path && this.intoHeads;
    return this.commandOf("patch", {
      node: path ? undefined : node.value,
      by: path ? undefined : this.by,
      method: path || patchMethod.value === "exact" ? undefined : patchMethod.value,
      into: path && into.value.length > 0 ? into.value.join(",") : undefined,
      through: ends ? through.value : undefined,
      "kv-group": ends && this.wholeGroups,
      mlps: path ? mlps.value : undefined,
      from: path ? this.from?.join(",") : undefined,
      ...this.choices,
    });
  });

  /** A line about the pairs, behind the one that writes their file. @param options of the command beside the model and the pairs */
  commandOf(
    words: string | readonly string[],
    options: Parameters<typeof command>[1],
    { pairs = this.pairs } = {},
  ): string {
    const line = command(typeof words === "string" ? [words] : words, {
      model: workspace.model,
      "pair-file": "pair.json",
      ...options,
      "prepend-bos": this.textual && promptBos.value === "on",
      "no-prepend-bos": this.textual && promptBos.value === "off",
    });
    return `${fileLine("pair.json", pairs.length === 1 ? pairs[0] : pairs)} && ${line}`;
  }

  /** Name of the result of another question. */
  readonly before: string = $derived.by(() => {
    const old = this.result.before;
    return old !== undefined && JSON.stringify(old.pairs) !== JSON.stringify(this.pairs)
      ? "of the pair before"
      : "of the choice before";
  });

  /** Progress of the patching of the present question; undefined where that is not known. */
  get progress(): { done: number; total: number } | undefined {
    return this.#progress !== undefined && this.#progress.id === this.result.id ? this.#progress : undefined;
  }

  /** Position that is marked in the shown pair; undefined for none. */
  readonly marked: number | undefined = $derived(positionIn(positionParam.value, this.pair));

  /** Marks a position of the shown pair, or none. */
  mark(position: number | undefined): void {
    positionParam.value = hold(position, this.pair);
  }

  /** Changes the pair that is shown, in one step of undo. */
  change(changes: Partial<PairInput>): void {
    if (this.pair !== undefined) pairsParam.value = this.pairs.with(this.index, { ...this.pair, ...changes });
  }

  /** All that decides how the pairs are read: a part of every question about them. Undefined while the model is unknown. */
  readonly #question: unknown = $derived.by(() => {
    const digest = workspace.info.value?.digest;
    return digest === undefined || this.pairs.length === 0 ? undefined : [digest, this.pairs, this.bos];
  });

  /** An answer of the shown pair that is all but impossible, with the one that may have been meant; undefined where there is none. */
  readonly doubtful: { readonly field: "answer" | "wrong"; readonly meant: Candidate } | undefined = $derived.by(() => {
    const { pair, alignment } = this;
    const suggestions = this.suggestions.value;
    if (pair === undefined || alignment === undefined || suggestions === undefined) return undefined;
    for (const [field, list] of [["answer", suggestions.clean], ["wrong", suggestions.corrupt]] as const) {
      const meant = meantToken(pair[field], alignment[field], list);
      if (meant !== undefined && !this.#meant.has(JSON.stringify([pair, field]))) return { field, meant };
    }
    return undefined;
  }); // biome-ignore format: a table

  /** Takes a doubtful answer as it stands. */
  takeAsTyped(): void {
    if (this.doubtful) this.#meant = new Set([...this.#meant, JSON.stringify([this.pair, this.doubtful.field])]);
  }

  /** Keeps to the tokens of the pairs, and to what is likely after them; run in an effect. */
  align(): void {
    const question = this.#question;
    const { pairs } = this;
    this.alignments.follow(question, (call) => this.#align(pairs, call));
    this.suggest(question);
  }

  /** Aligns the pairs and patches them; run in an effect. */
  follow(): void {
    const { request } = this;
    this.align();
    const asked = this.problem === undefined ? request : undefined;
    const ask = (found: readonly PairAlignment[]) => (call: CallOptions) => this.#patch(asked!, found, call);
    this.keep(this.result, asked, ask, { patience: PATIENCE });
  }

  /**
   * Keeps an answer about the pairs, which are aligned before; run in an effect.
   * @param request all that decides it beside the pairs, as data; undefined for nothing to ask
   * @param ask makes the request, of pairs that can be asked; gives undefined while it cannot
   */
  keep<T>(
    answer: Answer<T>,
    request: unknown,
    ask: (found: readonly PairAlignment[]) => Ask<T> | undefined,
    options: FollowOptions = {},
  ): void {
    const found = this.alignments.value;
    const known = this.suggestions.state !== "loading";
    const idle =
      request === undefined || (found !== undefined && (this.unequal !== undefined || this.doubtful !== undefined));
    const question = this.#question;
    const after = (found ? this.suggestions : this.alignments) as Answer<unknown>;
    answer.follow(
      idle || question === undefined ? undefined : [question, workspace.model, request],
      found && known && !idle ? ask(found) : undefined,
      { pause: PAUSE, after, ...options },
    );
  }

  /** Keeps to the likeliest next tokens of the pair that is shown. */
  suggest(question: unknown): void {
    const { pair } = this;
    const { model } = workspace;
    const bos = this.bos;
    const next = async (side: PairInput["clean"], call: CallOptions): Promise<readonly Candidate[]> => {
      const input = typeof side === "string" ? { model, text: side, ...bos } : { model, tokens: side };
      return (await post<Prompt>("/api/prompts", input, call)).next;
    };
    const sides = pair && [pair.clean, pair.corrupt];
    const ask =
      this.alignments.value &&
      pair &&
      (async (call: CallOptions) => ({ clean: await next(pair.clean, call), corrupt: await next(pair.corrupt, call) }));
    const digest = workspace.info.value?.digest;
    this.suggestions.follow(question === undefined ? undefined : [digest, sides, bos], ask, { after: this.alignments });
  }

  async #patch(request: PlacesRequest, alignments: readonly PairAlignment[], call: CallOptions): Promise<Patched> {
    const { into, through, mlps = "frozen" } = request;
    const path = into && { into, ...(through ? { through } : {}), mlps };
    const { signal } = call;
    for await (const { event, data } of stream("/api/patch", request, call)) {
      if (signal?.aborted) break;
      if (event === "progress") this.#progress = { id: call.id, ...(data as { done: number; total: number }) };
      else if (event === "done") {
        const { node = "z", by = "head", direction = "denoise", metric = "logit-diff", method = "exact" } = request;
        return {
          response: data as PatchResponse,
          pairs: request.pairs,
          alignments,
          node,
          by,
          direction,
          metric,
          method,
          ...(path ? { path } : {}),
        };
      }
    }
    throw new ApiError(problem("network", "Not done", "the server ended the patching without a result", "patch again"));
  }

  /** One pair after the other: the server computes one at a time. */
  async #align(pairs: readonly PairInput[], call: CallOptions): Promise<PairAlignment[]> {
    const { model } = workspace;
    const found: PairAlignment[] = [];
    for (const pair of pairs) found.push(await post<PairAlignment>("/api/pairs", { model, pair, ...this.bos }, call));
    return found;
  }
}

export const patching = new Patching();
