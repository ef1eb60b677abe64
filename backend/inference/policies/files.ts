import { checkModel, headModel } from "../../common/heads/model.ts";
import type { ModelDescription } from "../../models/sources/source.ts";
import type { PolicyChoice } from "./choice.ts";

/**
 * Insists that the files of policies are about a model, whose weights are not needed for that.
 * @throws HeadscopeError (mismatch) naming both models, and as the policies' own checks
 */
export function checkFiles({ heads, blocks, tokens }: PolicyChoice, model: ModelDescription): void {
  const { digest: _, ...shape } = headModel(model);
  if (heads) checkModel(heads.mask, shape, "the file that heads are chosen by");
  for (const chosen of [blocks, tokens]) chosen?.policy.check?.(model, chosen.params, chosen.prepared);
}
