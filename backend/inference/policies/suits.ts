import { jsonSchema } from "../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { counted } from "../../common/text.ts";
import type { ModelDescription } from "../../models/sources/source.ts";
import { requireSoftmax } from "../../models/transformer/kernels/index.ts";
import { type PolicyChoice, seesAll } from "./choice.ts";
import { prunes } from "./kinds/inputs.ts";
import type { Chosen, Policy } from "./kinds/policy.ts";
import { UNITS, type Unit, type UnitName } from "./kinds/units.ts";

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
  form?.policy.suits?.(model, form.params, form.prepared);
  for (const chosen of [blocks, tokens]) if (chosen) requireSoftmax(model.config, `policy ${chosen.policy.name}`);
  for (const chosen of [blocks, tokens]) chosen?.policy.check?.(model, chosen.params, chosen.prepared);
}

/**
 * Insists that no parameter of a policy names more than a model has. A default may: a paper's scale covers a small model whole.
 * @throws HeadscopeError (usage) with both numbers
 */
export function checkUnits({ ref, config }: ModelDescription, { policy, params }: Chosen<Policy>): void {
  for (const [name, field] of Object.entries(jsonSchema(policy.parameters).properties ?? {})) {
    const unit: Unit | undefined = field.unit === undefined ? undefined : UNITS[field.unit as UnitName];
    const value = params[name];
    if (unit === undefined || value === undefined || value === field.default) continue;
    const most = unit.most(config, params);
    const beyond = [value].flat().find((each) => Number(each) > most);
    if (beyond === undefined) continue;
    throw new HeadscopeError(
      "usage",
      `${name} of ${policy.name} can't be ${beyond}: of ${ref} ${unit.owner(params)} has ${counted(most, unit.noun)}`,
      { remedy: `give at most ${most}`, field: name },
    );
  }
}
