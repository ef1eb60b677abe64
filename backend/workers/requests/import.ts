import { z } from "zod";
import { importers } from "../../exports/index.ts";
import { headModel } from "../../heads/model.ts";
import type { HeadScores } from "../../heads/scores.ts";
import { describeModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { handler } from "../handler.ts";

/** Another project's head file as head scores. */
export const request = handler({
  payload: z.object({
    format: z.string(),
    model: z.string(),
    path: z.string().describe("file or folder"),
    params: z.record(z.string(), z.unknown()).optional(),
  }),
  async run({ format, model, path, params = {} }): Promise<HeadScores> {
    const importer = importers.get(format);
    importers.parse(format, params);
    return importer.read(path, headModel(await describeModel(parseReference(model, "absolute"))));
  },
});
