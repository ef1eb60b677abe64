import { classify } from "../../backend/circuits/vectors/linear-fits.ts";
import type { Matrix } from "../../backend/common/numerics/matrix.ts";
import type { Model } from "../../backend/models/model.ts";
import { labelledBatch } from "../../synthetic-tasks/logistic-regression.ts";
import { mean, median } from "../curves.ts";
import { outputsOf } from "../predictions.ts";
import { components } from "./features.ts";
import type { TaskValues } from "./measure.ts";

/** Ways of telling a query's label from the same shots. */
export const WAYS = {
  module: "TART: the module on the embeddings",
  plain: "the model's plain answer in context",
  calibrated: "the same, half of the answers each label",
  own: "logistic regression of each task, on the module's features",
  probe: "logistic regression of each task, on whole embeddings",
} as const;
export type Way = keyof typeof WAYS;
export const WAY_NAMES = Object.keys(WAYS) as Way[];

/** Right answers as a share, of one task and seed: by way, then by number of shots. */
export type TaskAccuracies = Readonly<Record<Way, readonly number[]>>;

/** Factor of the penalty of the regressions that are fitted to one task. */
const L2 = 1;

/**
 * Answers the queries of a task in every way.
 * @param module trained on points of as many dimensions
 * @param counts numbers of shots, as in the values
 */
export async function accuraciesOf(
  module: Model,
  { shots, queries, byShots }: TaskValues,
  counts: readonly number[],
): Promise<TaskAccuracies> {
  const found: Record<Way, number[]> = { module: [], plain: [], calibrated: [], own: [], probe: [] };
  for (const [c, count] of counts.entries()) {
    const { products, margins } = byShots[c]!;
    const labels = shots.slice(0, count);
    const features = components(products, count, { count: module.config.d_input!, white: true });
    const whole = components(products, count, { count, white: false });
    const fitted = ({ shots: train, others: test }: typeof features) => classify("logistic", { train, test }, [labels], L2)[0]!;
    const middle = median(margins);
    const answers: Record<Way, number[]> = {
      module: await moduleAnswers(module, features, labels),
      plain: margins.map((margin) => (margin > 0 ? 1 : 0)),
      calibrated: margins.map((margin) => (margin > middle ? 1 : 0)),
      own: fitted(features),
      probe: fitted(whole),
    };
    for (const way of WAY_NAMES) found[way].push(mean(answers[way].map((label, q) => (label === queries[q] ? 1 : 0))));
  }
  return found;
} // biome-ignore format: a way a line

/** The module's labels of items behind the shots, each as the last point of a row of its own. */
async function moduleAnswers(
  module: Model,
  { shots, others }: { shots: Matrix; others: Matrix },
  labels: readonly number[],
): Promise<number[]> {
  const { rows: count, columns: width } = shots;
  const rows = others.rows;
  const examples = count + 1;
  const x = new Float64Array(rows * examples * width);
  for (let row = 0; row < rows; row++) {
    x.set(shots.data, row * examples * width);
    x.set(others.data.subarray(row * width, (row + 1) * width), (row * examples + count) * width);
  }
  const given = Array.from({ length: rows }, () => [...labels, 0]).flat(); // the last one is not read
  const outputs = await outputsOf(module, labelledBatch({ rows, examples, x, labels: given })); // [rows, positions, 2]
  const size = outputs.length / rows;
  return Array.from({ length: rows }, (_, row) => {
    const [zero, one] = outputs.subarray((row + 1) * size - 2, (row + 1) * size) as unknown as [number, number];
    return one > zero ? 1 : 0;
  });
}
