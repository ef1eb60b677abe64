import { z } from "zod";
import { parameters } from "../../common/api/fields.ts";
import { parseMask } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { parseScores } from "../../common/heads/scores.ts";
import { checkpointInput } from "../../exports/checkpoints/checkpoint-input.ts";
import { exporters, exportHeads, type Written } from "../../exports/index.ts";
import { handler } from "../handler.ts";
import { session } from "../session.ts";

/** Writes scores or a mask in a foreign format. */
export const request = handler({
  payload: z.strictObject({
    format: z.string(),
    scores: z.unknown().optional().describe("a document"),
    mask: z.unknown().optional().describe("a document"),
    params: parameters.optional(),
    model: z.string().optional(),
    out: z.string().describe("file or folder to write"),
  }),
  async run({ format, params = {}, model: ref, out, ...documents }, { signal }): Promise<Written> {
    const scores = documents.scores === undefined ? undefined : parseScores(documents.scores, "the scores");
    const mask = documents.mask === undefined ? undefined : parseMask(documents.mask, "the mask");
    const exporter = exporters.get(format);
    if (!exporter.needsCheckpoint || ref === undefined)
      return exportHeads(format, { scores, mask }, out, params, { signal });
    const model = await session.models.open(ref, signal);
    if (scores) checkModel(scores, headModel(model), "the scores");
    if (mask) checkModel(mask, headModel(model), "the mask");
    return exportHeads(format, { scores, mask, checkpoint: checkpointInput(model) }, out, params, { signal });
  },
});
