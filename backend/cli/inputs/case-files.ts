import { type TokenPair, tokenPairs } from "../../circuits/pairs.ts";
import { errorAt, HeadscopeError } from "../../common/errors.ts";
import { type Intervention, parseInterventions } from "../../hooks/intervention-schema.ts";
import { readJson } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { about, input } from "./tokens.ts";

/**
 * Reads a cases file: a JSON array of cases.
 * @param readCase of the probe that they are for
 * @throws HeadscopeError naming file, case (0-based) and field
 */
export async function readCases<C extends object>(
  path: string,
  model: Model,
  readCase: (value: unknown, label: string, model: Model) => C,
): Promise<C[]> {
  const cases = await readJson(path, "cases file");
  return about(path, () => {
    if (!Array.isArray(cases)) throw input(`${path} is not an array of cases`, "give [case, case, ...]");
    if (cases.length === 0) throw input(`${path} holds no case`, "give at least one");
    return cases.map((value, c) => readCase(value, `${path}: case ${c}`, model));
  });
}

/**
 * Reads a pair file; texts are tokenised.
 * @param prependBos default: as the model's tokenizer does
 * @throws HeadscopeError naming file, pair (0-based) and field
 */
export async function readPairFile(path: string, model: Model, prependBos?: boolean): Promise<TokenPair[]> {
  const content = await readJson(path, "pair file");
  return tokenPairs(model, content, { source: path, ...(prependBos === undefined ? {} : { prependBos }) });
}

/**
 * Reads a file of interventions: a list of them, or one.
 * @throws HeadscopeError naming file, entry (0-based) and field
 */
export async function readInterventions(path: string): Promise<Intervention[]> {
  const content = await readJson(path, "interventions file");
  if (Array.isArray(content) && content.length === 0) throw input(`${path} holds no intervention`, "give at least one");
  try {
    return parseInterventions(content);
  } catch (error) {
    throw error instanceof HeadscopeError ? errorAt(path, error) : error;
  }
}

/** The interventions of an option that may have been left out. @throws as `readInterventions` does */
export async function readOptionalInterventions(path: string | undefined): Promise<Intervention[] | undefined> {
  return path === undefined ? undefined : readInterventions(path);
}
