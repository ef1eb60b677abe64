import { parseMask } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { parseScores } from "../../common/heads/scores.ts";
import { checkpointInput } from "../../exports/checkpoints/checkpoint-input.ts";
import { exporters, exportHeads, type Written } from "../../exports/index.ts";
import { session } from "../session.ts";
import type { Handler } from "./index.ts";

interface ExportPayload {
  readonly format: string;
  /** A document. */
  readonly scores?: unknown;
  /** A document. */
  readonly mask?: unknown;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly model?: string;
  /** File or folder to write. */
  readonly out: string;
}

/** Writes scores or a mask in a foreign format. */
export const handle: Handler = async (payload, { signal }): Promise<Written> => {
  const { format, params = {}, model: ref, out, ...given } = payload as ExportPayload;
  const scores = given.scores === undefined ? undefined : parseScores(given.scores, "the scores");
  const mask = given.mask === undefined ? undefined : parseMask(given.mask, "the mask");
  const exporter = exporters.get(format);
  if (!exporter.needsCheckpoint || ref === undefined)
    return exportHeads(format, { scores, mask }, out, params, { signal });
  const model = await session.models.open(ref, signal);
  if (scores) checkModel(scores, headModel(model), "the scores");
  if (mask) checkModel(mask, headModel(model), "the mask");
  return exportHeads(format, { scores, mask, checkpoint: checkpointInput(model) }, out, params, { signal });
};
