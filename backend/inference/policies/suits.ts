import { checkModel, headModel } from "../../common/heads/model.ts";
import type { ModelDescription } from "../../models/sources/source.ts";
import { requireSoftmax } from "../../models/transformer/kernels/index.ts";
import { type PolicyChoice, seesAll } from "./choice.ts";
import { prunes } from "./kinds/inputs.ts";
import { checkUnits } from "./kinds/units.ts";

/**
 * Insists that policies suit a model, whose weights are not needed for that, and one another.
 * @param choice policies at work, as `choosePolicies` gives them
 * @throws HeadscopeError (mismatch) for a file of another model, naming both, (usage) for parameters that name more than it has and
 *   policies that don't go together, and as the policies' own checks
 */
export function checkSuits(
  model: ModelDescription,
  { heads, blocks, inputs, tokens, form, requests = [] }: Partial<PolicyChoice>,
): void {
  for (const request of requests) checkUnits(model, request);
  if (inputs && prunes(inputs.policy)) inputs.policy.stages(inputs.params, model.config.n_layers);
  const { digest: _, ...shape } = headModel(model);
  if (heads) checkModel(heads.mask, shape, "the file that heads are chosen by");
  if (tokens?.policy.whole && heads?.mask.kvHeads?.flat().includes("streaming")) throw seesAll(tokens.policy.name);
  for (const chosen of [blocks, tokens]) if (chosen) requireSoftmax(model.config, `policy ${chosen.policy.name}`);
  form?.policy.suits?.(model, form.params, form.prepared);
  for (const chosen of [blocks, tokens]) chosen?.policy.check?.(model, chosen.params, chosen.prepared);
}
