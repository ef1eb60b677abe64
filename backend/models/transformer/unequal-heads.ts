import { HeadscopeError } from "../../common/errors.ts";
import { HEAD_FIELDS, hasUnequalHeads, type ModelConfig } from "../config.ts";

/**
 * Insists on keys and values of one number of heads and one width, for whoever holds the two side by side.
 * @param who the subject of the error, such as "a cache of keys and values"
 * @throws HeadscopeError (unsupported) naming the fields by which they differ
 */
export function requireEqualHeads(config: Partial<Pick<ModelConfig, (typeof HEAD_FIELDS)[number]>>, who: string): void {
  if (!hasUnequalHeads(config)) return;
  const fields = HEAD_FIELDS.filter((field) => config[field] !== undefined);
  const words = fields.map((field) => `${field} ${config[field]}`).join(", ");
  throw new HeadscopeError(
    "unsupported",
    `${who} takes as many values as keys, all of the width d_head, and this model has ${words}`,
    { remedy: `take a model without ${fields.join(", ")}`, field: fields[0]! },
  );
}
