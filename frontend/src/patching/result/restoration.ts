import type { PairAlignment, PatchResponse } from "../../../../backend/common/api/patching.ts";
import type { PatchNode, PatchPlace } from "../../../../backend/common/patching.ts";
import { counted } from "../../../../backend/common/text.ts";
import { metricWords } from "../choices.ts";

/** Nodes that have heads, and so can be patched head by head. */
const WITH_HEADS: readonly PatchNode[] = ["z", "q", "k", "v", "pattern"];

/** Places at which a node can be patched, one at a time. */
export function placesOf(node: PatchNode): readonly PatchPlace[] {
  return WITH_HEADS.includes(node) ? ["head", "position", "layer"] : ["position", "layer"];
}

/** Says whether the columns of a table by head are KV heads. */
export function ofKvHeads(node: PatchNode): boolean {
  return node === "k" || node === "v";
}

/** The metric of the two sides, and which of them is patched: the corrupt one unless `direction` says otherwise. */
type SideMetrics = Pick<PatchResponse, "clean" | "corrupt" | "direction">;

/** The metric of the run that is patched, and of the one that the activations come from. */
function endsOf({ clean, corrupt, direction }: SideMetrics): readonly [base: number, source: number] {
  return direction === "noise" ? [clean, corrupt] : [corrupt, clean];
}

/** The share of the way from the patched run's metric to the other's that a value stands for; NaN where the two do not differ. */
export function shareOf(value: number, sides: SideMetrics): number {
  const [base, source] = endsOf(sides);
  return source === base ? Number.NaN : (value - base) / (source - base);
}

/**
 * The share of the way to the other run that each place makes. Denoising: what it brings back, 0 as in the corrupt run and 1 as in
 * the clean one; noising: what is lost without it, 0 as in the clean run. NaN where the two runs do not differ, and at places that
 * were not run.
 */
export function restoration(response: SideMetrics & Pick<PatchResponse, "patched">): number[][] {
  return response.patched.map((row) => row.map((value) => (value === null ? Number.NaN : shareOf(value, response))));
}

/** The metric that a share stands for. */
export function rawOf(share: number, sides: SideMetrics): number {
  const [base, source] = endsOf(sides);
  return base + share * (source - base);
}

/** A place of the table. */
export interface TablePlace {
  readonly layer: number;
  /** Head, position, or 0. */
  readonly column: number;
  readonly share: number;
}

/** The places that move the logit difference furthest, either way; ties to the earlier layer, then column. */
export function strongestPlaces(table: readonly (readonly number[])[], count: number): TablePlace[] {
  return table
    .flatMap((row, layer) => row.map((share, column) => ({ layer, column, share })))
    .filter(({ share }) => Number.isFinite(share))
    .sort((a, b) => Math.abs(b.share) - Math.abs(a.share))
    .slice(0, count);
}

/** Length of a colour scale on either side of 0: the largest share, but at least a tenth, so that noise stays pale. */
export function scaleEnd(table: readonly (readonly number[])[]): number {
  return Math.max(0.1, ...table.flat().filter(Number.isFinite).map(Math.abs));
}

/** Tokens and attention, which decide the positions of a pair that can matter. */
export interface PairShape {
  readonly layers: number;
  readonly positions: number;
  /** Positions where the prompts differ, ascending. */
  readonly differ: readonly number[];
}

/**
 * Says whether patching a node at one position can change anything at all. It can't before the first token that differs, for both
 * runs are alike there; nor in the first layer where a node reads its own token alone and that is the same; nor in the last
 * layer anywhere but at the last position, but for what other positions are attended to by: keys, values and what makes them.
 */
export function canMatter(
  node: PatchNode,
  layer: number,
  position: number,
  { layers, positions, differ }: PairShape,
): boolean {
  if (differ.length === 0 || position < differ[0]!) return false;
  const ownToken = node === "resid_pre" || node === "q" || node === "k" || node === "v";
  if (layer === 0 && ownToken && !differ.includes(position)) return false;
  const attendedTo = node === "resid_pre" || node === "k" || node === "v";
  return attendedTo || layer < layers - 1 || position === positions - 1;
}

/** The positions where any of several pairs of one length differ. */
export function unionOfDiffer(alignments: readonly Pick<PairAlignment, "differ">[]): number[] {
  return [...new Set(alignments.flatMap(({ differ }) => differ))].sort((a, b) => a - b);
}

/** The trouble with a pair that can be patched, in words; undefined where nothing is. */
export function doubts({
  clean,
  corrupt,
  metric = "logit-diff",
}: Pick<PatchResponse, "clean" | "corrupt" | "metric">): string | undefined {
  if (clean === corrupt) return `Both prompts give the same ${metricWords(metric)}, so there is nothing to restore.`;
  if (metric !== "logit-diff") return undefined;
  if (clean < corrupt)
    return "The corrupt prompt prefers the answer more than the clean one does: answer and wrong may be swapped.";
  if (clean <= 0)
    return "The model does not prefer the answer even in the clean prompt: what is restored is not the right answer.";
  if (corrupt >= 0)
    return "The model prefers the answer in the corrupt prompt too: patching shows what makes it surer, not what decides.";
  return undefined;
}

/** Why two prompts of different lengths cannot be patched, and what to do. */
export function lengthWords(clean: number, corrupt: number): string {
  const [longer, more] = clean > corrupt ? ["clean", clean - corrupt] : ["corrupt", corrupt - clean];
  return `Patching goes position by position, and the ${longer} prompt has ${more === 1 ? "one token" : counted(more, "token")} more (${clean} and ${corrupt}). Use words of as many tokens on both sides: a name that is one token for a name that is one token.`;
}

/** Why a table by position cannot be made of these pairs; undefined where it can: they have one length. */
export function oddLength(alignments: readonly Pick<PairAlignment, "clean">[]): string | undefined {
  const [first, ...others] = alignments.map(({ clean }) => clean.ids.length);
  const at = others.findIndex((length) => length !== first);
  if (at < 0) return undefined;
  return `A table by position needs pairs of one length: pair 1 has ${counted(first ?? 0, "token")}, pair ${at + 2} has ${others[at]}. Patch by head or by layer, or take one of them out.`;
}
