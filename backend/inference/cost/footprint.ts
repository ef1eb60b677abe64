import { meaningOf } from "../../common/heads/meaning.ts";
import type { CacheKind } from "../../common/words.ts";
import { SQUARE } from "../../kernels/attend.ts";
import { cacheRowBytes, keyRowBytes } from "../../kernels/pages.ts";
import { codedPageBytes } from "../../models/cache/forms/size.ts";
import { PAGE, rowsAllocated } from "../../models/cache/page-rows.ts";
import { localWindow, type ModelConfig } from "../../models/config.ts";
import type { Window } from "../../models/transformer/attention.ts";
import type { PolicyChoice } from "../policies/choice.ts";
import { countsOf } from "../policies/counts.ts";
import type { ColumnRule, PromptView } from "../policies/kinds/blocks.ts";
import { kept } from "../policies/kinds/parameters.ts";
import { columnRules, readsAt } from "../policies/work/layers/sparse-layers.ts";

/** A request whose memory and work are wanted. */
export interface RequestSize {
  /** Of the prompt. */
  readonly tokens: number;
  readonly newTokens: number;
  /** Form of keys and values. */
  readonly cache: CacheKind;
}

/** Keys and values of a request, and the attention over them: told without a run. The last new token leaves none, since nothing reads it. */
export interface Footprint {
  /** Bytes of a token's keys and values in all heads. */
  readonly bytesPerToken: number;
  /** Bytes allocated at the end. */
  readonly bytes: number;
  /** Most bytes of rows that are allocated at a time: at the end, or before the prompt is cut. */
  readonly peakBytes: number;
  /** Bytes that a new token reads, mean over those that are read behind the prompt. */
  readonly readBytes: number;
  /** Pairs of a query and a key that it reads, over layers and query heads: of the prompt. */
  readonly pairs: number;
  /** Names of the policies that decide as they run: theirs counts as full attention's. */
  readonly undecided: readonly string[];
}

/** Rows of one KV head under a choice. */
interface HeadRows {
  /** At the end: in use, and as memory is given. */
  readonly used: number;
  readonly allocated: number;
  /** Read by the token in the middle of the new ones. */
  readonly read: number;
  /** Query-key pairs of the prompt, of one query head. */
  readonly pairs: number;
}

/** Bytes of a full head. */
interface HeadBytes {
  readonly allocated: number;
  /** Of the rows that the token in the middle of the new ones sees. */
  readonly read: number;
}

/** Policies at work, as `choosePolicies` gives them; `{}` for full attention. */
type Choice = Partial<PolicyChoice>;

/**
 * The footprint of a request under policies.
 * @param config of the model
 * @param counts whether pairs are counted, which takes long for long prompts under policies for blocks; else they are full attention's
 */
export function footprint(choice: Choice, config: ModelConfig, size: RequestSize, counts = true): Footprint {
  const { n_layers, n_heads, n_key_value_heads: kvHeads, d_head } = config;
  const { tokens, newTokens } = size;
  const rowBytes = 2 * cacheRowBytes(size.cache, d_head);
  const windows = choice.heads && meaningOf(choice.heads.mask).windows;
  const stay = choice.tokens && countsOf(choice.tokens, { tokens, config, windows });
  const holds = choice.blocks?.policy.holds?.(choice.blocks.params);
  const columns = holds && columnRules(config, holds);
  const bytesOf = fullBytes(choice, config, size, rowBytes);
  let [bytes, peakBytes, readBytes, pairs] = [0, 0, 0, 0];
  for (let layer = 0; layer < n_layers; layer++) {
    const local = localWindow(config, layer);
    const squares = counts ? squaresOf(choice, config, layer, tokens) : 1;
    for (let head = 0; head < kvHeads; head++) {
      const window = windows?.[layer]?.[head];
      const count = Math.min(tokens, stay?.[layer]?.[head] ?? tokens);
      const rows = window ? streaming(window, choice.heads!, size) : full(count, choice, size, columns?.[layer]);
      const chosen = window ? rows.read : chosenOf(rows.read, choice, layer);
      const own = window ? { allocated: rows.allocated * rowBytes, read: rows.read * rowBytes } : bytesOf(rows, count);
      bytes += own.allocated;
      peakBytes += Math.max(own.allocated, rowBytes * promptRows(choice, { window, tokens, count }));
      readBytes += own.read * Math.min(1, chosen / rows.read, (local ?? rows.read) / rows.read);
      pairs += Math.min(rows.pairs, squares * reach(tokens), local === undefined ? rows.pairs : reach(tokens, local));
    }
  }
  const { form } = choice;
  const held = form?.policy.sizeOf?.({ tokens, config, rowBytes }, form.params);
  const fresh = { bytes: rowsAllocated(newTokens - 1), readBytes: middle(newTokens) };
  const behind = rowBytes * n_layers * kvHeads;
  return {
    bytesPerToken: behind,
    peakBytes,
    ...(held === undefined
      ? { bytes, readBytes }
      : { bytes: held.bytes + behind * fresh.bytes, readBytes: held.read + behind * fresh.readBytes }),
    pairs: (pairs * n_heads) / kvHeads,
    undecided: undecidedOf(choice),
  };
}

/** Policies of which nothing is known before they have looked. */
function undecidedOf({ blocks, inputs, tokens, form }: Choice): string[] {
  const names = [
    blocks && !blocks.policy.placed ? blocks.policy.name : undefined,
    inputs?.policy.name,
    form && !form.policy.sizeOf && !form.policy.form && !form.policy.keyChannels ? form.policy.name : undefined,
    // Tokens that go one by one may be of the prompt, or not.
    form?.policy.keyChannels && tokens?.params.when === "decode" ? form.policy.name : undefined,
  ];
  return names.filter((name) => name !== undefined);
}

/** Share of the prompt's causal squares that a layer reads, where they follow from its length. */
function squaresOf({ blocks }: Choice, config: ModelConfig, layer: number, tokens: number): number {
  if (!blocks?.policy.placed) return 1;
  // No policy that goes by places alone looks at these.
  const none = {} as Pick<PromptView, "queries" | "lastQueries" | "keys" | "values">;
  const view = { ...none, config, layer, start: 0, tokens, side: SQUARE };
  return blocks.policy.choose(view, blocks.params, blocks.prepared)?.share ?? 1;
}

function streaming(window: Window, { prefill, once }: NonNullable<Choice["heads"]>, size: RequestSize): HeadRows {
  const { tokens, newTokens } = size;
  const most = window.sink + window.recent;
  const pairs = prefill === "dense" ? reach(tokens) : reach(tokens, most);
  if (once) return { ...grown(Math.min(tokens, most), newTokens), pairs };
  const length = tokens + newTokens - 1;
  return { used: 0, allocated: rowsAllocated(length, window), read: Math.min(tokens + middle(newTokens), most), pairs };
}

function full(count: number, { tokens: choice }: Choice, size: RequestSize, columns: ColumnRule | undefined): HeadRows {
  const { tokens, newTokens } = size;
  const slides = choice?.params.when === "decode" && Number.isFinite(kept(choice.params, tokens));
  const pairs = partedReach(tokens, count, partOf(choice, tokens));
  if (columns) return { ...sparse(columns, size), pairs };
  if (!slides) return { ...grown(count, newTokens), pairs };
  const most = kept(choice.params, tokens);
  const length = Math.min(count + newTokens - 1, most);
  return { used: length, allocated: rowsAllocated(length), read: Math.min(count + middle(newTokens), most), pairs };
}

/** Tokens of the parts behind each of which a prompt is cut; the prompt's where it is cut at its end alone. */
function partOf(choice: Choice["tokens"], tokens: number): number {
  return Math.min(tokens, choice?.policy.part?.(choice.params) ?? tokens);
}

/** Rows that a head has room for while a prompt is read. @param count that stay of it where it is cut */
function promptRows(
  { heads, tokens: choice }: Choice,
  { window, tokens, count }: { window: Window | undefined; tokens: number; count: number },
): number {
  if (window) return heads!.prefill === "dense" ? rowsAllocated(tokens) : rowsAllocated(tokens, window);
  return rowsAllocated(Math.min(tokens, count + partOf(choice, tokens)));
}

/** A head that holds what its last token reads. */
function sparse(columns: ColumnRule, { tokens, newTokens }: RequestSize): Omit<HeadRows, "pairs"> {
  const readBy = (token: number): number => {
    let rows = 0;
    for (let position = 0; position <= token; position++) if (readsAt(columns, position, token)) rows++;
    return rows;
  };
  const used = readBy(tokens + newTokens - 2);
  return { used, allocated: rowsAllocated(used), read: readBy(tokens + Math.floor(middle(newTokens)) - 1) };
}

/** A head that holds so much of the prompt, and every new token. */
function grown(count: number, newTokens: number): Omit<HeadRows, "pairs"> {
  const used = count + newTokens - 1;
  return { used, allocated: rowsAllocated(used), read: count + middle(newTokens) };
}

/** Bytes of full heads. @returns of a head's rows, where it holds `count` tokens of the prompt at its end */
function fullBytes(
  choice: Choice,
  config: ModelConfig,
  { cache, newTokens }: RequestSize,
  rowBytes: number,
): (rows: HeadRows, count: number) => HeadBytes {
  const { form, tokens } = choice;
  const coded = codedRows(choice, config, rowBytes);
  const channels = form?.policy.keyChannels?.(config, form.params) ?? config.d_head;
  if (channels === config.d_head || tokens?.params.when === "decode")
    return ({ used, allocated, read }) => ({
      allocated: allocated * rowBytes - coded(used),
      read: read * rowBytes - coded(read),
    });
  // Of the prompt's keys some channels are held, in pages of their own.
  const pruned = rowBytes / 2 + keyRowBytes(cache, config.d_head, channels);
  return (_, count) => ({
    allocated: rowsAllocated(count) * pruned + rowsAllocated(newTokens - 1) * rowBytes,
    read: count * pruned + middle(newTokens) * rowBytes,
  });
}

/** Bytes that codes take off a head's rows: of whole pages behind the recent tokens. @returns of so many rows */
function codedRows({ form }: Choice, config: ModelConfig, rowBytes: number): (rows: number) => number {
  const codes = form?.policy.form?.(form.params, form.prepared);
  if (codes === undefined) return () => 0;
  const [first, later] = [0, 1].map(
    (number) => PAGE * rowBytes - codedPageBytes(codes, config, { number, rows: PAGE }),
  );
  return (rows) => {
    const pages = Math.floor((rows - codes.recent) / PAGE);
    return pages < 1 ? 0 : first! + (pages - 1) * later!;
  };
}

/** Keys that a new token reads of those that a head holds, under a policy for reads. */
function chosenOf(held: number, { reads }: Choice, layer: number): number {
  if (!reads || layer < Number(reads.params["dense"] ?? 0)) return held;
  return Math.min(held, Math.max(kept(reads.params, held), reads.policy.least?.(reads.params) ?? 1));
}

/** Number of the token in the middle of those that are read behind the prompt, itself included. */
function middle(newTokens: number): number {
  return (Math.max(1, newTokens - 1) + 1) / 2;
}

/** Query-key pairs of a causal prompt that is read in parts, each of which sees so many keys of those before it at most. */
function partedReach(tokens: number, most: number, part: number): number {
  let pairs = 0;
  for (let begin = 0; begin < tokens; begin += part) {
    const own = Math.min(part, tokens - begin);
    pairs += own * Math.min(begin, most) + reach(own);
  }
  return pairs;
}

/** Query-key pairs of a causal prompt whose queries see so many keys at most. */
function reach(tokens: number, most = tokens): number {
  const short = Math.min(tokens, most);
  return (short * (short + 1)) / 2 + (tokens - short) * most;
}
