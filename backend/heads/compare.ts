import {
  COMPARISON_FORMAT,
  type ComparedModel,
  type HeadComparison,
  type LayerProfile,
  type ParameterDifference,
  type PlacedHead,
} from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import { type HeadAxis, headFormat } from "../common/heads/head.ts";
import { mainMetric } from "../common/heads/metric.ts";
import type { HeadMetric, HeadScores } from "../common/heads/scores.ts";
import { rankTable } from "../common/heads/table.ts";

/** Heads of each model that a comparison names, where nothing else is asked. */
export const TOP = 5;

/** A layer's place in its model: layer / (layers - 1), so that models of any depth share a scale; 0 in a model of one layer. */
export function relativeDepth(layer: number, layers: number): number {
  return layers === 1 ? 0 : layer / (layers - 1);
}

/** Best and mean score of every layer. @param values [layers, heads or kvHeads] @param axis which of the two, default heads */
export function layerProfiles(values: readonly (readonly number[])[], axis: HeadAxis = "heads"): LayerProfile[] {
  return values.map((row, layer) => {
    const best = Math.max(...row);
    return {
      layer,
      depth: relativeDepth(layer, values.length),
      best,
      head: headFormat(axis)({ layer, head: row.indexOf(best) }),
      mean: row.reduce((sum, value) => sum + value, 0) / row.length,
    };
  });
}

/**
 * Compares two models' heads by one metric of the same probe.
 * @param options.metric default: the main one of the first document
 * @param options.top best heads of each model that are named, default `TOP`; fewer where one of the models has fewer
 * @throws HeadscopeError `usage` for a metric that one of them lacks or fewer than one head, `mismatch` for scores of two probes, or of
 *   query heads and KV heads
 */
export function compareScores(
  first: HeadScores,
  second: HeadScores,
  { metric, top = TOP }: { readonly metric?: string | undefined; readonly top?: number | undefined } = {},
): HeadComparison {
  if (first.probe !== second.probe)
    throw new HeadscopeError("mismatch", `scores of ${first.probe} and of ${second.probe} cannot be compared`, {
      remedy: `score both models by one probe, such as headscope probe ${first.probe}`,
    });
  if (!Number.isInteger(top) || top < 1)
    throw new HeadscopeError("usage", `the best ${top} heads are none`, { remedy: "give a whole number from 1" });
  const main = mainMetric(first, metric);
  const other = mainMetric(second, main.name);
  if (main.axis !== other.axis)
    throw new HeadscopeError("mismatch", `${main.name} scores query heads in one document and KV heads in the other`, {
      remedy: "score both models anew by the same probe",
    });
  const count = Math.min(top, main.values.flat().length, other.values.flat().length);
  const models = [compared(first, main, count), compared(second, other, count)] as const;
  const differences = parameterDifferences(first, second);
  return {
    format: COMPARISON_FORMAT,
    probe: first.probe,
    metric: main.name,
    axis: main.axis,
    sentence: comparisonSentence(main.name, main.axis, models),
    caveat:
      differences.length === 0 ? undefined : `Not the same for both: ${differences.map(differenceWords).join("; ")}.`,
    differences,
    models,
  };
}

function compared(
  { model, params, seed }: HeadScores,
  { axis, values, range, chance }: HeadMetric,
  count: number,
): ComparedModel {
  const top = rankTable(values)
    .slice(0, count)
    .map(({ layer, head, value, rank }): PlacedHead => {
      return { head: headFormat(axis)({ layer, head }), depth: relativeDepth(layer, values.length), value, rank };
    });
  const layers = layerProfiles(values, axis);
  return { model, params, seed, range, chance, values, layers, top };
}

/** Parameters, and the seed, in which two score documents differ, in the order of the first. */
function parameterDifferences(first: HeadScores, second: HeadScores): ParameterDifference[] {
  const [a, b]: Record<string, unknown>[] = [first, second].map(({ params, seed }) => ({ ...params, seed }));
  return [...new Set([...Object.keys(a!), ...Object.keys(b!)])]
    .filter((name) => JSON.stringify(a![name]) !== JSON.stringify(b![name]))
    .map((name) => ({ name, first: a![name], second: b![name] }));
}

function differenceWords({ name, first = "none", second = "none" }: ParameterDifference): string {
  const words = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));
  return `${name} ${words(first)} and ${words(second)}`;
}

/** A comparison's finding: at which depth the best heads of either model lie, and how high they score. */
function comparisonSentence(
  metric: string,
  axis: HeadAxis,
  [first, second]: readonly [ComparedModel, ComparedModel],
): string {
  const count = first.top.length;
  const noun = axis === "heads" ? "head" : "KV head";
  const heads = count === 1 ? `best ${noun}` : `${count} best ${noun}s`;
  const same = first.model.ref === second.model.ref;
  const names = [first, second].map(({ model: { ref } }, i) =>
    same ? `${ref} (${i === 0 ? "first" : "second"})` : ref,
  );
  const flat = [first, second].map(isFlat);
  const where = [first, second].map(({ top }, i) => `${depths(top)} in ${names[i]} (${scores(top)})`);
  const none = [first, second].map(({ top }, i) => `all ${noun}s of ${names[i]} score ${number(top[0]!.value)}`);
  const lie = `The ${heads} by ${metric} ${count === 1 ? "lies" : "lie"} at depth`;
  const best = [first, second].map(({ top }) => top[0]!);
  const alone = `the best of all, ${best[0]!.head} and ${best[1]!.head}, at ${number(best[0]!.depth)} and ${number(best[1]!.depth)}`;
  if (!flat[0] && !flat[1]) return `${lie} ${where[0]} and ${where[1]}${count === 1 ? "" : `; ${alone}`}.`;
  if (flat[0] && flat[1]) return `By ${metric} no ${noun} stands out: ${none[0]}, and ${none[1]}.`;
  const [peaked, level] = flat[0] ? [1, 0] : [0, 1];
  return `${lie} ${where[peaked]}; ${none[level]}.`;
}

function isFlat({ values }: ComparedModel): boolean {
  const all = values.flat();
  return all.length > 1 && all.every((value) => value === all[0]);
}

function depths(top: readonly PlacedHead[]): string {
  return span(top.map(({ depth }) => depth));
}

function scores(top: readonly PlacedHead[]): string {
  return span(top.map(({ value }) => value));
}

/** "0.57 to 0.79", or "1.00" where both ends read the same. */
function span(values: readonly number[]): string {
  const [low, high] = [number(Math.min(...values)), number(Math.max(...values))];
  return low === high ? low : `${low} to ${high}`;
}

function number(value: number): string {
  return value.toFixed(2);
}
