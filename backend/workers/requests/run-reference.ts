import { z } from "zod";
import { tasks } from "../../../synthetic-tasks/index.ts";
import type { RunReference } from "../../common/api/task-samples.ts";
import { referenceLevels } from "../../training/evaluations.ts";
import type { TrainSpec } from "../../training/spec.ts";
import { handler } from "../handler.ts";

/** Measures a task's reference predictor on the rows on which a run is evaluated. */
export const request = handler({
  payload: z.strictObject({ spec: z.custom<TrainSpec>(), seed: z.int() }),
  async run({ spec, seed }): Promise<RunReference> {
    const task = tasks.get(spec.task);
    const { reference } = task;
    return { ...(reference && { title: reference.title }), evaluations: referenceLevels(task, spec, seed) };
  },
});
