import { z } from "zod";
import { interventionForm } from "../common/api/interventions.ts";
import { HeadscopeError, unknownName } from "../common/errors.ts";
import { INTERVENTION_KINDS, type InterventionName } from "./intervention-kinds.ts";

/** Schema of an intervention as data: the same words in a script, in a file for --interventions and in a request. */
export const interventionSchema = interventionForm.extend({
  do: z.enum(Object.keys(INTERVENTION_KINDS) as [InterventionName, ...InterventionName[]]).describe("what is done"),
});

/** An intervention before its defaults are filled in. */
export type Intervention = z.input<typeof interventionSchema>;
/** An intervention with its defaults filled in. */
export type ParsedIntervention = z.output<typeof interventionSchema>;

/**
 * Checks interventions from a file or a request.
 * @throws HeadscopeError (usage) naming the entry and the field
 */
export function parseInterventions(value: unknown): Intervention[] {
  const result = z.array(interventionSchema).safeParse(Array.isArray(value) ? value : [value]);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const [entry, ...field] = issue.path;
  const refused = (Array.isArray(value) ? value : [value])[Number(entry)] as { do?: unknown } | undefined;
  if (field[0] === "do" && typeof refused?.do === "string")
    throw unknownName("intervention", refused.do, Object.keys(INTERVENTION_KINDS));
  throw new HeadscopeError(
    "usage",
    `intervention ${String(entry ?? 0)}${field.length ? `, ${field.join(".")}` : ""}: ${issue.message}`,
    {
      remedy: 'write it as {"at": "blocks.5.attn.hook_z", "heads": [1, 4], "do": "zero"}',
    },
  );
}
