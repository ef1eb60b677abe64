import type { z } from "zod";
import { MASK_FORMAT as FORMAT, headMaskSchema } from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { Head } from "../common/heads/head.ts";
import { DEFAULT_RECENT, DEFAULT_SINK } from "../common/heads/window.ts";
import { formatJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";
import { checkTable, columnNoun, parseDocument, readDocument } from "./document.ts";
import type { HeadModel } from "./model.ts";
import { type HeadScores, kvTable, mainMetric } from "./scores.ts";
import { choose, oneRule, type Rule } from "./select.ts";

const REMEDY = "write it again with headscope mask";

/** A checked mask file. */
export type HeadMask = z.output<typeof headMaskSchema>;

/** How much a streaming head keeps. */
export interface MaskWindow {
  /** First tokens, default 64. */
  readonly sink?: number | undefined;
  /** Latest tokens, default 256. */
  readonly recent?: number | undefined;
}

/**
 * Turns scores into a mask over KV heads; the score of a KV head is the maximum over its group of query heads.
 * Exactly one rule: `top` KV heads keep everything; or the lowest `quantile` share streams (DuoAttention's sparsity);
 * or heads that score at least `threshold` keep everything. Ties go to the earlier layer, then head.
 * @param options.metric default: the main one
 * @param options.scoresFile path of the scores, noted in `source`
 * @throws HeadscopeError `usage` for a wrong rule, value or metric
 */
export function maskFromScores(
  scores: HeadScores,
  options: Rule & MaskWindow & { readonly metric?: string | undefined; readonly scoresFile?: string | undefined },
): HeadMask {
  const metric = mainMetric(scores, options.metric);
  const { name: rule, value } = oneRule(options);
  const chosen = choose(kvTable(scores, metric), options);
  return parseMask(
    {
      format: FORMAT,
      model: scores.model,
      kvHeads: chosen.map((row) => row.map((full) => (full ? "retrieval" : "streaming"))),
      ...window(options),
      source: {
        ...(options.scoresFile === undefined ? {} : { scores: options.scoresFile }),
        probe: scores.probe,
        metric: metric.name,
        rule,
        value,
      },
    },
    "the mask",
  );
}

/** A mask from KV heads named by the user: these keep everything, all others stream. */
export function maskFromKvHeads(model: HeadModel, full: readonly Head[], options: MaskWindow = {}): HeadMask {
  const kvHeads = table(model, "kvHeads", full, "retrieval", "streaming");
  return parseMask({ format: FORMAT, model, kvHeads, ...window(options), source: "user" }, "the mask");
}

/**
 * A mask that ablates query heads and keeps the rest.
 * @param source where the choice comes from, default "user"
 * @throws HeadscopeError `usage` for a head that the model has not
 */
export function maskFromHeads(
  model: HeadModel,
  ablate: readonly Head[],
  source: HeadMask["source"] = "user",
): HeadMask {
  const heads = table(model, "heads", ablate, "ablate", "keep");
  return parseMask({ format: FORMAT, model, heads, ...window({}), source }, "the mask");
}

function table<T extends string>(
  model: HeadModel,
  axis: "heads" | "kvHeads",
  named: readonly Head[],
  inside: T,
  outside: T,
): T[][] {
  const rows = Array.from({ length: model.layers }, () => Array.from({ length: model[axis] }, () => outside));
  for (const { layer, head } of named) {
    if (rows[layer]?.[head] === undefined)
      throw new HeadscopeError("usage", `there is no ${columnNoun(axis)} ${layer}.${head}`, {
        remedy: `layers are 0 to ${model.layers - 1}, ${columnNoun(axis)}s 0 to ${model[axis] - 1}`,
      });
    rows[layer][head] = inside;
  }
  return rows;
}

function window({ sink = DEFAULT_SINK, recent = DEFAULT_RECENT }: MaskWindow): { sink: number; recent: number } {
  const bad = (name: string, value: number, least: number) =>
    new HeadscopeError("usage", `${name} cannot be ${value}`, {
      remedy: `give a whole number of tokens from ${least}`,
    });
  if (!Number.isSafeInteger(sink) || sink < 0) throw bad("sink", sink, 0);
  if (!Number.isSafeInteger(recent) || recent < 1) throw bad("recent", recent, 1);
  return { sink, recent };
}

/**
 * Checks a mask document: its tag, its fields, one row a layer and one column a head.
 * @param label where it comes from, usually a path; errors start with it
 * @throws HeadscopeError `input` naming the field
 */
export function parseMask(value: unknown, label: string): HeadMask {
  const mask = parseDocument(headMaskSchema, value, { format: FORMAT, label, remedy: REMEDY });
  const { layers, heads, kvHeads } = mask.model;
  if (heads % kvHeads !== 0)
    throw new HeadscopeError("input", `${label}: ${heads} heads cannot share ${kvHeads} KV heads`, { remedy: REMEDY });
  if (mask.kvHeads === undefined && mask.heads === undefined)
    throw new HeadscopeError("input", `${label} chooses no heads: both kvHeads and heads are absent`, {
      remedy: REMEDY,
    });
  for (const axis of ["kvHeads", "heads"] as const) {
    const rows = mask[axis];
    if (rows !== undefined)
      checkTable(rows, layers, mask.model[axis], {
        label: `${label}: ${axis}`,
        columnsAre: columnNoun(axis),
        remedy: REMEDY,
      });
  }
  return mask;
}

/**
 * Reads and checks a mask file.
 * @throws HeadscopeError `missing` or `input`, starting with the path
 */
export function readMask(path: string): Promise<HeadMask> {
  return readDocument(path, "mask file", parseMask);
}

/** Checks and writes a mask file, whole or not at all. */
export async function writeMask(path: string, mask: HeadMask): Promise<void> {
  await writeFileAtomic(path, `${formatJson(parseMask(mask, path))}\n`);
}

/** What a mask says of each head of its model: both of its tables, an absent one filled in. */
export interface MaskMeaning {
  /** KV heads that keep everything: all where the mask says nothing of KV heads. */
  readonly full: readonly Head[];
  /** KV heads that keep sink and recent tokens only. */
  readonly streaming: readonly Head[];
  /** By layer and KV head, what a streaming head keeps; undefined where everything. */
  readonly windows: readonly (readonly ({ readonly sink: number; readonly recent: number } | undefined)[])[];
  /** Query heads whose output is 0 at every position: none where the mask says nothing of query heads. */
  readonly ablated: readonly Head[];
}

/** Decides what a mask means, for whoever runs, exports or shows it. Heads are in order of layer and head. */
export function meaningOf({ model, kvHeads, heads, sink, recent }: HeadMask): MaskMeaning {
  const choices =
    kvHeads ?? Array.from({ length: model.layers }, () => new Array<"retrieval">(model.kvHeads).fill("retrieval"));
  return {
    full: places(choices, "retrieval"),
    streaming: places(choices, "streaming"),
    windows: choices.map((row) => row.map((choice) => (choice === "streaming" ? { sink, recent } : undefined))),
    ablated: places(heads ?? [], "ablate"),
  };
}

function places(rows: readonly (readonly string[])[], wanted: string): Head[] {
  return rows.flatMap((row, layer) => row.flatMap((choice, head) => (choice === wanted ? [{ layer, head }] : [])));
}

export { checkModel } from "./model.ts";
