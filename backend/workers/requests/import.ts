import { headModel } from "../../common/heads/model.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { importers } from "../../exports/index.ts";
import { describeModel } from "../../models/load.ts";
import { parseReference } from "../../models/sources/reference.ts";
import type { Handler } from "./index.ts";

interface ImportPayload {
  readonly format: string;
  readonly model: string;
  /** File or folder. */
  readonly path: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/** Another project's head file as head scores. */
export const handle: Handler = async (payload): Promise<HeadScores> => {
  const { format, model, path, params = {} } = payload as ImportPayload;
  const importer = importers.get(format);
  importers.parse(format, params);
  return importer.read(path, headModel(await describeModel(parseReference(model, "absolute"))));
};
