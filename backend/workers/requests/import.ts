import { z } from "zod";
import { parameters } from "../../common/api/fields.ts";
import { headModel } from "../../common/heads/model.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { importers, scoresImporter } from "../../exports/index.ts";
import { describeModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { handler } from "../handler.ts";

/** Another project's head file as head scores. */
export const request = handler({
  payload: z.strictObject({
    format: z.string(),
    model: z.string(),
    path: z.string().describe("file or folder"),
    params: parameters.optional(),
  }),
  async run({ format, model, path, params = {} }): Promise<HeadScores> {
    const importer = scoresImporter(format);
    importers.parse(format, params);
    return importer.read(path, headModel(await describeModel(parseReference(model, "absolute"))));
  },
});
