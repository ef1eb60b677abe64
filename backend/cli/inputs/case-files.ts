import type { RetrievalCase } from "../../../probes/base.ts";
import { type TokenPair, tokenPairs } from "../../circuits/pairs.ts";
import { errorAt, HeadscopeError } from "../../common/errors.ts";
import { type Intervention, parseInterventions } from "../../hooks/intervention-schema.ts";
import { describeJson, readJson } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { checkId, checkRow } from "../../models/tokens.ts";
import { about, input } from "./tokens.ts";

const FIELDS = ["ids", "needleSpan", "maxNewTokens", "stopToken", "answer"];
const CASES = 'a cases file is a JSON array of {"ids": [...], "needleSpan": [start, end]}';

/**
 * Reads a cases file of the retrieval probe.
 * @throws HeadscopeError naming file, case (0-based) and field
 */
export async function readCases(path: string, model: Model): Promise<RetrievalCase[]> {
  const cases = await readJson(path, "cases file");
  return about(path, () => {
    if (!Array.isArray(cases) || cases.length === 0) throw input(`${path} is not an array of cases`, CASES);
    return cases.map((value, c) => checkCase(value, `${path}: case ${c}`, model));
  });
}

function checkCase(value: unknown, label: string, { config }: Model): RetrievalCase {
  const entry = fields(value, label, CASES);
  const { ids, needleSpan, maxNewTokens, stopToken, answer } = entry;
  const unknown = Object.keys(entry).find((key) => !FIELDS.includes(key));
  if (unknown !== undefined) throw input(`${label}: unknown field "${unknown}"`, `the fields are ${FIELDS.join(", ")}`);
  if (answer !== undefined && (typeof answer !== "string" || answer.trim() === ""))
    throw input(`${label}: answer ${describeJson(answer)} is no text`, "give the text that a right answer holds");
  checkRow(ids, `${label}: ids`, { config });
  const [start, end] = Array.isArray(needleSpan) && needleSpan.length === 2 ? needleSpan : [];
  if (!Number.isInteger(start) || !Number.isInteger(end) || start < 0 || start >= end || end > ids.length)
    throw input(
      `${label}: needleSpan ${JSON.stringify(needleSpan)} is not a span of its ${ids.length} ids`,
      "give [start, end) with 0 <= start < end <= the number of ids",
    );
  if (maxNewTokens !== undefined && !(Number.isInteger(maxNewTokens) && (maxNewTokens as number) > 0))
    throw input(
      `${label}: maxNewTokens ${describeJson(maxNewTokens)} is not a number of tokens`,
      "give a whole number from 1",
    );
  if (stopToken !== undefined) checkId(stopToken, `${label}: stopToken`, config);
  const most = (maxNewTokens as number | undefined) ?? 10;
  if (ids.length + most > config.n_ctx)
    throw input(
      `${label}: ${ids.length} ids and ${most} new tokens exceed the context of ${config.n_ctx}`,
      "shorten the haystack or lower maxNewTokens",
    );
  return {
    ids: ids as number[],
    needleSpan: [start, end],
    maxNewTokens: maxNewTokens as number | undefined,
    stopToken: stopToken as number | undefined,
    answer: answer as string | undefined,
  };
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

function fields(value: unknown, label: string, shape: string): Record<string, unknown> {
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw input(`${label} is ${describeJson(value)}`, shape);
  return value as Record<string, unknown>;
}
