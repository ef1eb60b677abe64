import { pullHubModel } from "../../models/sources/hub/pull.ts";
import { type PullProgress, pullModel } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import type { JobRequest } from "../../server/jobs/requests.ts";
import { progressTo } from "../progress.ts";
import type { Handler } from "./index.ts";

/** Fetches a model of the catalogue or from the hub. */
export const handle: Handler = async (payload, { emit, signal }): Promise<{ model: string; bytes: number }> => {
  const { model, acceptLicence = false } = payload as Extract<JobRequest, { kind: "pull" }>;
  const progress = progressTo(emit);
  const onProgress = ({ stage, done = 0, total = 0 }: PullProgress) => progress(done, total, `${model}, ${stage}`);
  const { bytes } =
    parseReference(model, "none").kind === "hub"
      ? await pullHubModel(model, { signal, onProgress })
      : (await pullModel(model, { acceptLicence, signal, onProgress })).manifest;
  return { model, bytes };
};
