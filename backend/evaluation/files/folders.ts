import { createHash } from "node:crypto";
import type { EvaluationSettings } from "../../common/api/evaluations.ts";
import { slug } from "../../paths.ts";
import { JOURNAL_FORMAT } from "./journal.ts";

/** Folder of the data folder in which evaluations have theirs. */
export const EVALUATIONS = "evaluations";

/** Name of an evaluation's folder: the same weights and settings give the same, so that one which was stopped goes on; those of other versions lie elsewhere. */
export function evaluationId(
  model: { readonly ref: string; readonly digest: string },
  settings: EvaluationSettings,
): string {
  const hash = createHash("sha256")
    .update(JSON.stringify([JOURNAL_FORMAT, model.digest, settings]))
    .digest("hex");
  return `${slug(model.ref)}-${hash.slice(0, 8)}`;
}
