import { HeadscopeError } from "../backend/common/errors.ts";
import { describeJson } from "../backend/json.ts";
import type { Model } from "../backend/models/model.ts";
import { checkId, checkRow } from "../backend/models/tokens.ts";
import type { RetrievalCase } from "./base.ts";

const FIELDS = ["ids", "needleSpan", "maxNewTokens", "stopToken", "answer"];
const SHAPE = 'a case is {"ids": [...], "needleSpan": [start, end]}';

/**
 * Reads a case of the retrieval probe.
 * @param label names the case; errors start with it
 * @throws HeadscopeError (input) naming the field
 */
export function retrievalCase(value: unknown, label: string, { config }: Model): RetrievalCase {
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw input(`${label} is ${describeJson(value)}`, SHAPE);
  const given = value as Record<string, unknown>;
  const { ids, needleSpan, maxNewTokens, stopToken, answer } = given;
  const unknown = Object.keys(given).find((key) => !FIELDS.includes(key));
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
    ...(maxNewTokens === undefined ? {} : { maxNewTokens: maxNewTokens as number }),
    ...(stopToken === undefined ? {} : { stopToken: stopToken as number }),
    ...(answer === undefined ? {} : { answer: answer as string }),
  };
}

function input(message: string, remedy: string): HeadscopeError {
  return new HeadscopeError("input", message, { remedy });
}
