import { sampleRows, tasks } from "../../../synthetic-tasks/index.ts";
import { type TaskSample, taskSampleRequest } from "../../common/api/task-samples.ts";
import { brief } from "../../common/errors.ts";
import { handler } from "../handler.ts";

/** Characters of a sequence in words, at most. */
const LONGEST = 20_000;

/** Draws sequences of a task that models are trained on, in words. */
export const request = handler({
  payload: taskSampleRequest,
  async run({ task: name, params: raw, count, seed }): Promise<TaskSample> {
    const params = tasks.parse(name, raw) as Record<string, unknown>;
    const { texts } = sampleRows(tasks.get(name), params, { count, seed });
    return { task: name, params, seed, texts: texts.map((text) => brief(text, LONGEST)) };
  },
});
