import { needleTest } from "../../../probes/needle.ts";
import { parseMask } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { loadModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import type { JobRequest, NeedleResult } from "../../server/api.ts";
import { progressTo } from "../progress.ts";
import type { Handler } from "./index.ts";

type NeedleJob = Extract<JobRequest, { kind: "needle" }>;

/** Needle questions at lengths and depths, with all heads full and with a mask. */
export const handle: Handler = async (payload, { emit, signal }): Promise<NeedleResult> => {
  const { model: ref, mask: given, lengths, depths, needles, maxTokens, seed } = payload as NeedleJob;
  const mask = given === undefined ? undefined : parseMask(given, "the mask");
  const model = await loadModel(parseReference(ref, "absolute"), { signal });
  try {
    if (mask) checkModel(mask, headModel(model), "the mask");
    const trials = await needleTest(model, {
      lengths,
      depths,
      ...(mask ? { mask } : {}),
      ...(needles === undefined ? {} : { needles }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(seed === undefined ? {} : { seed }),
      progress: progressTo(emit),
      signal,
    });
    return { model: model.ref, trials };
  } finally {
    model.dispose();
  }
};
