import type { MaskEntry, MaskRequest } from "../../../../backend/common/api/heads.ts";
import { command, dataFile, quote } from "../../../../backend/common/command-line.ts";
import type { HeadShape } from "../../../../backend/common/heads/head.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { kvTable } from "../../../../backend/common/heads/metric.ts";
import type { HeadScores } from "../../../../backend/common/heads/scores.ts";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../../../../backend/common/heads/window.ts";
import type { SelectionRule } from "../../../../backend/common/words.ts";
import { asKvHeads } from "../../components/head-choice/algebra.ts";
import { emptyTable } from "../../components/head-grid/grid.ts";

export const MASK_SOURCES = ["score", "heads", "hand", "library"] as const;
/** Origin of a mask: a rule over scores, the selected query heads, KV heads clicked one by one, or the library. */
export type MaskSource = (typeof MASK_SOURCES)[number];

export const HEAD_USES = ["keep", "ablate"] as const;
/** Use of selected heads: their KV heads keep everything and the others stream, or they are ablated. */
export type HeadUse = (typeof HEAD_USES)[number];

/** Everything that decides a mask. */
export interface Choice {
  readonly source: MaskSource;
  /** Id of the score document; "" where there is none. */
  readonly scores: string;
  readonly metric: string;
  readonly rule: SelectionRule;
  readonly value: number;
  readonly effect: HeadUse;
  /** Query heads, LAYER.HEAD. */
  readonly heads: readonly string[];
  /** KV heads clicked, LAYER.KV. */
  readonly kvHeads: readonly string[];
  /** Id of a saved mask; "" for none. */
  readonly library: string;
  readonly sink: number;
  readonly recent: number;
}

/** The body of POST /api/masks for a choice, or what is missing. A mask of the library is read instead: `read` is its id. */
export type MaskAsk = { readonly post: MaskRequest } | { readonly read: string } | { readonly missing: string };

export function askFor(choice: Choice, model: string, shape: HeadShape): MaskAsk {
  const window = { sink: choice.sink, recent: choice.recent };
  switch (choice.source) {
    case "score":
      if (choice.scores === "")
        return {
          missing:
            "No scores of this model yet: run a probe on the Heads page, import a file dataFile, or choose by hand.",
        };
      return { post: { scores: choice.scores, metric: choice.metric, [choice.rule]: choice.value, ...window } };
    case "heads":
      if (choice.heads.length === 0) return { missing: "No heads are selected: pick some here, or on the Heads page." };
      if (choice.effect === "ablate") return { post: { model, ablate: choice.heads } };
      return { post: { model, kvHeads: asKvHeads(choice.heads, shape), ...window } };
    case "hand":
      return { post: { model, kvHeads: choice.kvHeads, ...window } };
    case "library":
      return choice.library === "" ? { missing: "No mask is chosen: take one of the list." } : { read: choice.library };
  }
}

/** A quarter of the KV heads, as DuoAttention keeps of grouped heads; at least one. */
export function defaultTop({ layers, kvHeads }: Pick<HeadShape, "layers" | "kvHeads">): number {
  return Math.max(1, Math.round((layers * kvHeads) / 4));
}

/** Result of so many KV heads, kept full: of `answered` questions, and the loss of their texts in nats a token. */
export interface BudgetPoint {
  readonly kvHeads: number;
  readonly right: number;
  readonly loss: number;
}

/** The curve by which a mask was found to be the smallest that answers. */
export interface MaskCurve {
  readonly asked: number;
  readonly answered: number;
  readonly lengths: readonly number[];
  readonly points: readonly BudgetPoint[];
}

/** The curve of a mask that was searched for; undefined of any other. */
export function searchCurve(source: unknown): MaskCurve | undefined {
  return (source as { search?: MaskCurve } | null)?.search;
}

/** The newest mask that was searched for by a metric of a probe, with a window; undefined while there is none. */
export function searchedMask(
  masks: readonly MaskEntry[],
  by: { probe: string; metric: string; sink: number; recent: number },
): MaskEntry | undefined {
  return masks.findLast(({ source, sink, recent }) => {
    const { probe, metric } = (source ?? {}) as { probe?: unknown; metric?: unknown };
    const same = probe === by.probe && metric === by.metric && sink === by.sink && recent === by.recent;
    return same && searchCurve(source) !== undefined;
  });
}

/** First and latest tokens that a streaming head keeps, as the command line has it; in a short context an eighth of it, so that something is dropped. */
export function defaultWindow(context: number): { sink: number; recent: number } {
  return context >= 1024
    ? { sink: DEFAULT_SINK, recent: DEFAULT_RECENT }
    : { sink: 1, recent: Math.max(1, Math.floor(context / 8) - 1) };
}

/** The scores to begin with: what fetches from a long context, else what copies, else the newest. */
export function defaultScores(documents: readonly { readonly id: string; readonly probe: string }[]): string {
  const of = (probe: string) => documents.findLast((each) => each.probe === probe);
  return (of("retrieval") ?? of("induction") ?? documents.at(-1))?.id ?? "";
}

/** A mask as the command line has it: what makes the file, and the file. */
export interface MaskFile {
  /** Shell line that writes the file; undefined where it is there already. */
  readonly make?: string;
  /** Undefined while there is no mask. */
  readonly file?: string;
}

/**
 * A rule over scores is a command of its own; heads picked one by one are written out.
 * @param saved id of the mask in the library, where it is in it
 */
export function maskFile(choice: Choice, saved: string | undefined, mask: HeadMask | undefined): MaskFile {
  if (saved !== undefined) return { file: dataFile(saved) };
  if (mask === undefined) return {};
  if (choice.source !== "score")
    return { make: `printf '%s\\n' ${quote(JSON.stringify(mask))} > mask.json`, file: "mask.json" };
  const { scores, metric, rule, value, sink, recent } = choice;
  const options = { scores: dataFile(scores), metric, [rule]: value, sink, recent, out: "mask.json" };
  return { make: command(["mask"], options), file: "mask.json" };
}

/** Lines to run one after the other, the first of which may make the mask. */
export function withMask({ make, file }: MaskFile, line: (mask: string | undefined) => string): string {
  return [...(make === undefined ? [] : [make]), line(file)].join("\n");
}

/** Says whether a name will do for a saved mask; why not otherwise. */
export function nameProblem(name: string): string | undefined {
  if (name === "") return undefined;
  return /^[a-z0-9][a-z0-9._-]{0,63}$/i.test(name)
    ? undefined
    : "Letters, digits, dots, hyphens and underscores, beginning with a letter or digit; at most 64.";
}

/** Origin of a mask of the library, in words that go on after others; "" for what says nothing. */
export function sourceWords(source: unknown): string {
  if (typeof source !== "object" || source === null) return source === "user" ? " · by hand" : "";
  const { probe, metric, rule, value } = source as Readonly<Record<string, unknown>>;
  if (rule === undefined) return "";
  return ` · ${rule} ${value} by ${metric ?? probe ?? "a score"}`;
}

/**
 * Values by which the grid shows heads: scores where there are some on that axis, else nothing.
 * @returns `known` is false where every value is NaN
 */
export function tableOf(
  axis: "heads" | "kvHeads",
  document: HeadScores | undefined,
  metricName: string,
  shape: HeadShape | undefined,
): { values: readonly (readonly number[])[]; known: boolean } {
  const metric = document?.metrics[metricName];
  if (metric !== undefined && axis === "kvHeads") return { values: kvTable(document!, metric), known: true };
  if (metric !== undefined && metric.axis === axis) return { values: metric.values, known: true };
  const { layers = 0, heads = 0, kvHeads = 0 } = shape ?? {};
  return { values: emptyTable(layers, axis === "heads" ? heads : kvHeads), known: false };
}
