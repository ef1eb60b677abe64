import type { Bench } from "../measure.ts";
import type { Setting } from "../setting.ts";
import { TRAINED, trainer } from "../training.ts";

/** Steps of the workbench's own training against PyTorch's. */
export function trainingRows(setting: Setting): Bench[] {
  const unit = "ms/step";
  return [
    ...TRAINED.map((size) => ({
      name: `training step, ${size.name}`, unit, rival: "PyTorch, the faster of eager and compiled", goal: size.goal,
      ours: trainer(size),
      theirs: async () => fastest([
        await setting.rivals?.measure(`train-${size.name}-eager`),
        await setting.rivals?.measure(`train-${size.name}-compiled`),
      ]),
    })),
    {
      name: "training step, induction, four seeds", unit, rival: "one seed", goal: 2.5,
      ours: trainer(TRAINED[0]!, [0, 1, 2, 3]), theirs: trainer(TRAINED[0]!),
    },
  ]; // biome-ignore format: a table
}

function fastest(times: (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length > 0 ? Math.min(...known) : undefined;
}
