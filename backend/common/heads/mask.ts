import type { z } from "zod";
import { MASK_FORMAT as FORMAT, headMaskSchema } from "../api/documents.ts";
import { HeadscopeError } from "../errors.ts";
import { checkTable, columnNoun, parseDocument } from "./document.ts";
import type { Head, HeadAxis } from "./head.ts";
import { kvTable, mainMetric } from "./metric.ts";
import type { HeadModel } from "./model.ts";
import type { HeadScores } from "./scores.ts";
import { choose, type HeadSelection, oneRule } from "./select.ts";
import { DEFAULT_RECENT, DEFAULT_SINK, type MaskWindow } from "./window.ts";

const REMEDY = "write it again with headscope mask";

/** A checked mask file. */
export type HeadMask = z.output<typeof headMaskSchema>;

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
  options: HeadSelection &
    MaskWindow & { readonly metric?: string | undefined; readonly scoresFile?: string | undefined },
): HeadMask {
  const metric = mainMetric(scores, options.metric);
  const { name: rule, value } = oneRule(options);
  const choice = choose(kvTable(scores, metric), options);
  return parseMask(
    {
      format: FORMAT,
      model: scores.model,
      kvHeads: choice.map((row) => row.map((full) => (full ? "retrieval" : "streaming"))),
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

/**
 * A mask from KV heads by name: these keep everything, all others stream.
 * @param options.source where the choice comes from, default "user"
 * @throws HeadscopeError `usage` for a head that the model has not
 */
export function maskFromKvHeads(
  model: HeadModel,
  full: readonly Head[],
  options: MaskWindow & { readonly source?: HeadMask["source"] } = {},
): HeadMask {
  const kvHeads = table(model, "kvHeads", full, ["retrieval", "streaming"]);
  return parseMask(
    { format: FORMAT, model, kvHeads, ...window(options), source: options.source ?? "user" },
    "the mask",
  );
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
  const heads = table(model, "heads", ablate, ["ablate", "keep"]);
  return parseMask({ format: FORMAT, model, heads, ...window({}), source }, "the mask");
}

function table<T extends string>(
  model: HeadModel,
  axis: HeadAxis,
  named: readonly Head[],
  [inside, outside]: readonly [T, T],
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
