import { join } from "node:path";
import { searchMask } from "../../../probes/mask-search.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { readScores } from "../../heads/files.ts";
import { loadModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { dataDir } from "../../paths.ts";
import type { JobRequest } from "../../server/api.ts";
import { progressTo } from "../progress.ts";
import { shortHash, writeResult } from "../result-files.ts";
import type { Handler } from "./index.ts";

type MaskSearchJob = Extract<JobRequest, { kind: "mask-search" }>;

/** The smallest mask that loses no needle answer; it is kept among the masks, with its curve. */
export const handle: Handler = async (payload, { emit, signal }): Promise<{ mask: string }> => {
  const { kind: _, model: ref, scores: id, ...asked } = payload as MaskSearchJob;
  const scores = await readScores(join(dataDir(), id));
  const model = await loadModel(parseReference(ref, "absolute"), { signal });
  try {
    checkModel(scores, headModel(model), `scores ${id}`);
    const { mask } = await searchMask(model, scores, { ...asked, scoresFile: id, progress: progressTo(emit), signal });
    return {
      mask: await writeResult(`masks/smallest-${scores.probe}-${shortHash([model.digest, id, asked])}.json`, mask),
    };
  } finally {
    model.dispose();
  }
};
