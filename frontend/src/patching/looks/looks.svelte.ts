import type { Prompt } from "../../../../backend/common/api/prompts.ts";
import type { HeadRolesAnswer, HeadRolesRequest } from "../../../../backend/common/api/roles.ts";
import { promptCommand } from "../../../../backend/common/command-line.ts";
import { formatHead, readHead } from "../../../../backend/common/heads/head.ts";
import { ApiError, type CallOptions, getBytes, post, problem } from "../../api/client.ts";
import { readSafetensors } from "../../api/safetensors.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { choice, flag } from "../../state/codecs.ts";
import { selection } from "../../state/selection.svelte.ts";
import { urlParam } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { direct } from "../direct/direct.svelte.ts";
import { patching } from "../patching.svelte.ts";
import { strongestPlaces } from "../result/restoration.ts";

/** Heads that are looked at: those whose patching moves most, that write most straight into the answer, or that are selected. */
export const HEAD_ORDERS = ["patched", "direct", "selected"] as const;
export type HeadOrder = (typeof HEAD_ORDERS)[number];
export const looksBy = urlParam("looks-by", choice(HEAD_ORDERS, "patched"));

/** True if weights are multiplied by the norm of what the token's value writes; the same choice as on the Attention page. */
export const weighted = urlParam("weighted", flag());

/** Heads that are shown at most. */
const MOST = 14;

/** The attention of the last position of a prompt, by head. */
export interface Looks {
  readonly tokens: readonly string[];
  readonly ids: readonly number[];
  /** Weights of the prompt's tokens [tokens] of each head, in the order of their effect. */
  readonly heads: readonly { readonly head: string; readonly weights: readonly number[] }[];
  /** True if each weight is times the norm of what its value writes. */
  readonly weighted: boolean;
}

/** The attention of the last token of the shown pair's clean prompt, by head. */
class LooksState {
  readonly answer = new Answer<Looks>();
  /** The roles that heads seem to have on the pairs. */
  readonly roles = new Answer<HeadRolesAnswer>();

  /** The order that there are heads for: without a table of single heads' outputs that of direct effects. */
  readonly order: HeadOrder = $derived(
    looksBy.value === "patched" && !patching.result.loading && direct.restored === undefined ? "direct" : looksBy.value,
  );

  /** The heads to look at, the largest effect first; undefined while effects are not known. */
  readonly heads: readonly string[] | undefined = $derived.by(() => {
    if (this.order === "selected") return selection.value.slice(0, 2 * MOST);
    const table = this.order === "patched" ? direct.restored : direct.answer.value?.parts.heads;
    return table && strongestPlaces(table, MOST).map(({ layer, column }) => formatHead({ layer, head: column }));
  });

  /**
   * The lines that write the heads' patterns, and their values where those count, to a file, whose last rows are what is shown, and
   * that suggest the roles.
   */
  get command(): string {
    const { pair, bos } = patching;
    if (pair === undefined) return "";
    const layers = [...new Set(this.heads?.map((head) => readHead(head)!.layer))].sort((a, b) => a - b);
    const hooks = ["attn.hook_pattern", ...(weighted.value ? ["attn.hook_v"] : [])];
    const names = layers.flatMap((layer) => hooks.map((hook) => `blocks.${layer}.${hook}`)).join(",");
    const prompt = typeof pair.clean === "string" ? { text: pair.clean, ...bos } : { tokens: pair.clean };
    const { metric } = patching.choices;
    return [
      promptCommand("forward", { model: workspace.model, ...prompt }, { names, out: "patterns.safetensors" }),
      patching.commandOf(["circuit", "roles"], { metric }),
    ].join(" && ");
  }

  /** Keeps to the pair that is shown and to the heads; run in an effect. */
  follow(): void {
    const { pair, bos, index } = patching;
    const { heads, order } = this;
    const byValue = weighted.value;
    const input = pair && {
      model: workspace.model,
      ...(typeof pair.clean === "string" ? { text: pair.clean, ...bos } : { tokens: pair.clean }),
    };
    const request = input && heads?.length !== 0 ? [index, heads ?? order, byValue] : undefined;
    const ask = input && heads ? () => (call: CallOptions) => looksOf(input, heads, byValue, call) : () => undefined;
    const effects = (order === "patched" ? patching.result : direct.answer) as Answer<unknown>;
    patching.keep(this.answer, request, ask, heads === undefined ? { after: effects } : {});
    this.#followRoles();
  }

  #followRoles(): void {
    const { pairs, bos, choices } = patching;
    const { metric } = choices;
    const request: HeadRolesRequest = { model: workspace.model, pairs, ...bos, ...(metric ? { metric } : {}) };
    const ask = () => (call: CallOptions) => post<HeadRolesAnswer>("/api/circuit-roles", request, call);
    patching.keep(this.roles, ["roles", metric], ask);
  }
}

/** The last row of the patterns of some heads. */
async function looksOf(input: object, names: readonly string[], byValue: boolean, call: CallOptions): Promise<Looks> {
  const { id, tokens, ids } = await post<Prompt>("/api/prompts", input, call);
  const heads = names.map((name) => readHead(name)!);
  const rows = new Map<string, readonly number[]>();
  const { wait: _, ...named } = call; // who reads it has waited for the effects
  for (const layer of [...new Set(heads.map((head) => head.layer))]) {
    const own = heads.filter((head) => head.layer === layer);
    const query = new URLSearchParams({
      heads: own.map(({ head }) => head).join(","),
      queries: `${ids.length - 1}:${ids.length}`,
      ...(byValue ? { weighted: "value" } : {}),
    });
    const [tensor] = readSafetensors(await getBytes(`/api/prompts/${id}/patterns/${layer}?${query}`, named));
    if (tensor === undefined) throw new ApiError(problem("defect", "Defect", "a pattern came without numbers"));
    for (const [i, head] of own.entries())
      rows.set(formatHead(head), [...tensor.data.subarray(i * ids.length, (i + 1) * ids.length)]);
  }
  return { tokens, ids, heads: names.map((head) => ({ head, weights: rows.get(head)! })), weighted: byValue };
}

export const looks = new LooksState();
