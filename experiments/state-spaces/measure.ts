import { Random } from "../../backend/common/random.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import type { Model } from "../../backend/models/model.ts";
import { sequencesOf } from "../../backend/training/task.ts";
import { type Batch, tasks } from "../../synthetic-tasks/index.ts";
import type { ExperimentContext, TrainedRun } from "../base.ts";
import { mean } from "../curves.ts";
import type { StateParams } from "./arms.ts";

/** Stream of a seed that no batch of the training is drawn from. */
const STREAM = 0xe0000000;

/** Accuracies of a seed of one arm, by letters of a string, by pairs, and of near and far queries of the most pairs. */
export interface StateAccuracies {
  readonly copy: readonly number[];
  readonly recall: readonly number[];
  readonly near: number;
  readonly far: number;
}

/** Lengths of strings at which copying is measured: powers of two, the longest of training, one beyond. */
export function lengthsOf({ length_max, longer }: Pick<StateParams, "length_max" | "longer">): number[] {
  return [...powers(length_max), length_max, longer];
}

/** Numbers of pairs at which recall is measured: powers of two up to those of training. */
export function pairsOf({ pairs }: Pick<StateParams, "pairs">): number[] {
  return [...powers(pairs), pairs];
}

/** 2, 4, 8 … below a number. */
function powers(end: number): number[] {
  const all: number[] = [];
  for (let power = 2; power < end; power *= 2) all.push(power);
  return all;
}

/** Accuracies of an arm's runs, seed by seed. */
export async function measureArm(
  copies: readonly TrainedRun[],
  recalls: readonly TrainedRun[],
  params: StateParams,
  context: ExperimentContext,
): Promise<StateAccuracies[]> {
  const seeds: StateAccuracies[] = [];
  for (const [s, copied] of copies.entries()) {
    const copy = await finalModel(copied, context, (model) =>
      lengthsOf(params).map((length) => {
        const own = { ...copied.taskParams, length_min: length, length_max: length };
        return mean(rightAnswers(model, draw("copy", own, copied.seed, params)).map(({ right }) => right));
      }),
    );
    const recalled = recalls[s]!;
    const recall = await finalModel(recalled, context, (model) => {
      const answers = pairsOf(params).map((pairs) =>
        rightAnswers(model, draw("associative-recall", { ...recalled.taskParams, pairs }, recalled.seed, params)),
      );
      const last = answers.at(-1)!;
      const distances = last.map(({ distance }) => distance).sort((a, b) => a - b);
      const [low, high] = [1 / 3, 2 / 3].map((share) => distances[Math.floor(share * distances.length)]!) as [
        number,
        number,
      ];
      const where = (fits: (distance: number) => boolean) =>
        mean(last.filter(({ distance }) => fits(distance)).map(({ right }) => right));
      return {
        recall: answers.map((each) => mean(each.map(({ right }) => right))),
        near: where((distance) => distance <= low),
        far: where((distance) => distance >= high),
      };
    });
    seeds.push({ copy, ...recall });
  }
  return seeds;
}

/** A value of a run's last model. */
async function finalModel<T>(run: TrainedRun, context: ExperimentContext, measure: (model: Model) => T): Promise<T> {
  context.signal.throwIfAborted();
  const model = await context.model(run, run.checkpoints.at(-1)!);
  try {
    return measure(model);
  } finally {
    model.dispose();
  }
}

/** Fresh rows of a task. */
function draw(name: string, own: Record<string, unknown>, seed: number, { evaluation_rows }: StateParams): Batch {
  return tasks.get(name).sample(null, own, new Random(seed, STREAM), evaluation_rows);
}

/** The scored predictions of a model: 1 where the likeliest token is the target, and how far back the target stands last. */
function rightAnswers(model: Model, batch: Batch): { right: number; distance: number }[] {
  const { classes, weights } = batch;
  const sequences = sequencesOf(batch);
  const T = sequences[0]!.length;
  const result = forward(model, { tokens: sequences, logitsAt: "all" });
  const logits = result.logits!.dataSync() as Float32Array; // [rows, positions, outputs]
  const outputs = result.logits!.shape[2]!;
  result.dispose();
  return [...weights.keys()]
    .filter((at) => weights[at]! > 0)
    .map((at) => {
      const own = logits.subarray(at * outputs, (at + 1) * outputs);
      const row = sequences[Math.floor(at / T)]!;
      const place = at % T;
      const likeliest = own.indexOf(own.reduce((most, x) => Math.max(most, x)));
      return { right: likeliest === classes![at] ? 1 : 0, distance: place - row.indexOf(classes![at]!) };
    });
}
