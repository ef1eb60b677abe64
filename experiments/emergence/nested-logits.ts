import type { Curve } from "../curves.ts";

/** Pairs of a context, copies of a class among them, and labels of the task. */
export interface LabelSizes {
  readonly N: number;
  readonly B: number;
  readonly L: number;
}

/** A loss that falls along the gradient of some logits. @returns the loss and its derivative by each of them */
export type LogitModel = (logits: readonly number[]) => { readonly loss: number; readonly gradient: readonly number[] };

/** A loss model laid over a measured curve, by where its logits begin and how fast they learn. */
export interface LogitFit {
  /** Of each logit at step 0. */
  readonly start: number;
  /** Time of gradient flow in a training step. */
  readonly rate: number;
  /** Share of the curve's variance that it explains; below 0 where its mean does better. */
  readonly explained: number;
  /** Mean squared error, nats². */
  readonly error: number;
  /** At the curve's steps. */
  readonly curve: Curve;
}

/**
 * The in-context circuit of two layers in three logits, each within the next: a label attends to the item before it by the first; what it
 * has read of that item, times the second, is the query's logit of the right labels; attention to labels, times the third, are the output's logits.
 * Attention that is not meant is even: over the N other tokens that a label sees on average, and the 2N - B that are no right label.
 * @see Reddy 2024, The mechanistic basis of data dependence and abrupt learning in an in-context classification task, phenomenological model
 */
export function nestedLogits({ N, B, L }: LabelSizes): LogitModel {
  const [others, spread] = [2 * N - B, B / (2 * N - B)];
  const wrongLabels = N / B - 1;
  const absent = Math.max(0, L - 1 - wrongLabels);
  return ([previous, match, copy]) => {
    const read = 1 / (1 + N * Math.exp(-previous!));
    const attended = 1 / (1 + (others / B) * Math.exp(-match! * read));
    const [right, wrong] = [copy! * attended, copy! * (1 - attended) * spread];
    const top = Math.max(right, wrong, 0);
    const terms = [Math.exp(right - top), wrongLabels * Math.exp(wrong - top), absent * Math.exp(-top)] as const;
    const total = terms[0] + terms[1] + terms[2];
    const [byRight, byWrong] = [terms[0] / total - 1, terms[1] / total];
    const byAttended = copy! * (byRight - byWrong * spread);
    const byMatch = byAttended * attended * (1 - attended);
    return {
      loss: top + Math.log(total) - right,
      gradient: [
        byMatch * match! * read * (1 - read),
        byMatch * read,
        byRight * attended + byWrong * (1 - attended) * spread,
      ],
    };
  };
}

/** A single logit of the right label beside L - 1 others: what learning is without nesting. */
export function oneLogit({ L }: Pick<LabelSizes, "L">): LogitModel {
  return ([logit]) => {
    const others = (L - 1) * Math.exp(-logit!);
    return { loss: Math.log1p(others), gradient: [-others / (1 + others)] };
  };
}

/** Beginnings of the logits that are tried, and rates, evenly in their logarithm. */
const STARTS = Array.from({ length: 31 }, (_, i) => i / 10);
const RATES = Array.from({ length: 241 }, (_, i) => 10 ** (-5 + i / 30));
/** Largest change of a logit in a step of the flow, and the steps that are taken at most. */
const [STRIDE, STRIDES] = [0.02, 4000] as const;

/**
 * Lays a model over a loss curve: of all beginnings and rates on a grid, those of the least squared error over the curve's steps.
 * @param count logits of the model @param measured loss in nats, a step's beginning at 0 or later
 */
export function fitLogits(model: LogitModel, count: number, measured: Curve): LogitFit {
  const { steps, values } = measured;
  const average = values.reduce((sum, value) => sum + value, 0) / values.length;
  const errorOf = (at: (i: number) => number): number =>
    values.reduce((sum, value, i) => sum + (value - at(i)) ** 2, 0) / values.length;
  const variance = errorOf(() => average);
  const last = Math.max(...steps) * RATES.at(-1)!;
  let best: { start: number; rate: number; error: number; losses: number[] } | undefined;
  for (const start of STARTS) {
    const flow = flowOf(model, Array<number>(count).fill(start), last);
    for (const rate of RATES) {
      const losses = lossesAt(flow, steps, rate);
      const error = errorOf((i) => losses[i]!);
      if (best === undefined || error < best.error) best = { start, rate, error, losses };
    }
  }
  const { start, rate, error, losses } = best!;
  return { start, rate, error, explained: 1 - error / variance, curve: { steps, values: losses } };
}

/** The loss over the time of gradient flow, in steps that are short along its path. */
function flowOf(model: LogitModel, begin: readonly number[], until: number): { times: number[]; losses: number[] } {
  const [times, losses] = [[0], [model(begin).loss]];
  let logits = begin;
  for (let stride = 0; stride < STRIDES && times.at(-1)! < until; stride++) {
    const { gradient } = model(logits);
    const time = STRIDE / Math.max(...gradient.map(Math.abs));
    if (!Number.isFinite(time)) break;
    const half = model(logits.map((logit, i) => logit - (time / 2) * gradient[i]!));
    logits = logits.map((logit, i) => logit - time * half.gradient[i]!);
    times.push(times.at(-1)! + time);
    losses.push(model(logits).loss);
  }
  return { times, losses };
}

/** Losses of a flow at ascending steps of a rate; behind its end its last. */
function lossesAt({ times, losses }: ReturnType<typeof flowOf>, steps: readonly number[], rate: number): number[] {
  let place = 1;
  return steps.map((step) => {
    const time = step * rate;
    while (place < times.length && times[place]! < time) place++;
    if (place >= times.length) return losses.at(-1)!;
    const [from, to] = [times[place - 1]!, times[place]!];
    return losses[place - 1]! + ((time - from) / (to - from)) * (losses[place]! - losses[place - 1]!);
  });
}
