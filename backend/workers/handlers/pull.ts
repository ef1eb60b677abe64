import { pullModel } from "../../models/pull.ts";
import type { JobRequest } from "../../server/api.ts";
import { progressTo } from "../progress.ts";
import type { Handler } from "./index.ts";

/** Fetches a model of the catalogue. */
export const handle: Handler = async (payload, { emit, signal }): Promise<{ model: string; bytes: number }> => {
  const { model } = payload as Extract<JobRequest, { kind: "pull" }>;
  const progress = progressTo(emit);
  const { manifest } = await pullModel(model, {
    signal,
    onProgress: ({ stage, done = 0, total = 0 }) => progress(done, total, `${model}, ${stage}`),
  });
  return { model, bytes: manifest.bytes };
};
