import { join } from "node:path";
import { z } from "zod";
import { searchMask } from "../../../probes/mask-search.ts";
import { documentId, modelRef, seedSchema, shortName } from "../../common/api/fields.ts";
import { maskFromScores } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { readScores } from "../../heads/files.ts";
import { loadModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { dataDir } from "../../paths.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind, shortHash, writeResult } from "../kind.ts";

/** Finds the smallest mask, by a score, that answers every needle question which all heads answer. */
export const maskSearch = jobKind({
  name: "mask-search",
  fields: ({ promptTokens }) => ({
    model: modelRef,
    scores: documentId.describe("id of the scores by which KV heads are kept"),
    metric: shortName.optional(),
    sink: z.int().min(0).max(promptTokens).optional(),
    recent: z.int().min(1).max(promptTokens).optional(),
    lengths: z.array(z.int().min(16).max(promptTokens)).min(1).max(16).describe("tokens of the questions"),
    depths: z.array(z.number().min(0).max(1)).min(1).max(16).optional(),
    needles: z.int().min(1).max(16).optional().describe("questions of each length and depth"),
    seed: seedSchema.optional(),
  }),
  result: z.object({ mask: documentId.describe("id of the mask; its source holds the curve") }),
  title: ({ model }) => `smallest mask of ${model}`,

  async check(request, { models, library }) {
    const { metric, sink, recent } = request;
    maskFromScores(await library.readScores(request.scores), { top: 0, metric, sink, recent });
    return { ...request, model: await models.allowed(request.model) };
  },

  async run({ kind: _, model: ref, scores: id, ...questions }, { emit, signal }) {
    const scores = await readScores(join(dataDir(), id));
    const model = await loadModel(parseReference(ref, "absolute"), { signal });
    try {
      checkModel(scores, headModel(model), `scores ${id}`);
      const options = { ...questions, scoresFile: id, progress: progressTo(emit), signal };
      const { mask } = await searchMask(model, scores, options);
      const hash = shortHash([model.digest, id, questions]);
      return { mask: await writeResult(`masks/smallest-${scores.probe}-${hash}.json`, mask) };
    } finally {
      model.dispose();
    }
  },
});
