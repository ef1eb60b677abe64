import { interval, resamplesOf } from "../circuits/evaluation/resample.ts";
import { wilson } from "../circuits/vectors/probe-layer.ts";
import type { Interval } from "../common/api/circuits.ts";
import type { EvaluatedPoint } from "../common/api/evaluations.ts";
import { costOf, paretoFront, qualityOf } from "../common/evaluation/tradeoffs.ts";
import { mean, median } from "../common/numerics/averages.ts";
import { Random } from "../common/random.ts";
import { EVALUATION_COSTS, type EvaluationCost } from "../common/words.ts";
import type { PlannedPoint, PlannedTask } from "./plan.ts";

/** Resamples of the cases that an interval is made of. */
const RESAMPLES = 1000;

/** Everything about a point but its place on the front. */
export type PointMeans = Omit<EvaluatedPoint, "front">;

/** The means of a point's cases, with intervals. @param cases at least one, in their order */
export function pointMeans(
  { label, budget, choice }: PlannedPoint,
  { task }: PlannedTask,
  place: Pick<EvaluatedPoint, "length" | "sharedPrefill" | "cases">,
): PointMeans {
  const { cases } = place;
  const questions = cases.flatMap((each) => each.questions);
  const kept = questions.flatMap(({ needles }) => needles.map((needle) => needle.kept));
  const decoded = cases.filter(({ steps }) => steps > 0);
  const shares = {
    read: meanOf(cases.map(({ read }) => read)),
    prefillRead: meanOf(cases.map((each) => each.prefillRead)),
  };
  const losses = cases.map((each) => mean(each.questions.map(({ loss }) => loss)));
  return {
    label,
    policies: choice.used.map(({ name, params }) => ({ name, params: { ...params } })),
    budget,
    task: task.name,
    length: place.length,
    scoring: task.scoring,
    chance: mean(questions.map(({ chance }) => chance)),
    score: scoreInterval(cases.map(({ score }) => score)),
    byQuestion: (cases[0]?.questions ?? []).map((_, q) =>
      mean(cases.flatMap((each) => each.questions[q]?.score ?? [])),
    ),
    loss: resampled(losses),
    kept: kept.length > 0 ? mean(kept) : null,
    bytes: mean(cases.map(({ bytes }) => bytes)),
    bytesFull: mean(cases.map(({ bytesFull }) => bytesFull)),
    ...(shares.read === undefined ? {} : { read: shares.read }),
    ...(shares.prefillRead === undefined ? {} : { prefillRead: shares.prefillRead }),
    // Medians: the first run of a length compiles functions, and a mean would be of that.
    prefillMs: median(cases.map(({ prefillMs }) => prefillMs)),
    decodeMsPerToken: decoded.length > 0 ? median(decoded.map(({ decodeMs, steps }) => decodeMs / steps)) : null,
    sharedPrefill: place.sharedPrefill,
    cases,
  };
}

/** Points with the costs by which none of the same task and length is better. */
export function withFronts(points: readonly PointMeans[]): EvaluatedPoint[] {
  const keyOf = ({ task, length }: PointMeans): string => `${task} ${length}`;
  const fronts = new Map<PointMeans, EvaluationCost[]>(points.map((point) => [point, []]));
  for (const key of new Set(points.map(keyOf)))
    for (const cost of EVALUATION_COSTS) {
      const group = points.filter((point) => keyOf(point) === key);
      const tradeoffs = group.map((point) => ({ point, cost: costOf(point, cost), quality: qualityOf(point) }));
      for (const { point } of paretoFront(tradeoffs)) fronts.get(point)!.push(cost);
    }
  return points.map((point) => ({ ...point, front: fronts.get(point)! }));
}

/** A mean score with its interval: Wilson's where every case is right or wrong, else over resamples. */
export function scoreInterval(scores: readonly number[]): Interval {
  if (!scores.every((score) => score === 0 || score === 1)) return resampled(scores);
  const [low, high] = wilson(sum(scores), scores.length);
  return { value: mean(scores), low, high };
}

function resampled(values: readonly number[]): Interval {
  return interval(values, mean, resamplesOf(values.length, RESAMPLES, new Random(0)));
}

/** The mean of what is there; undefined of nothing. */
function meanOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length > 0 ? mean(known) : undefined;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
