import type { z } from "zod";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { demonstrationInput, labelledPromptInput, vectorCaseInput } from "../../common/api/vectors.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { describeJson } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { checkId, checkRow, encodeText } from "../../models/tokens.ts";

const caseSchema = vectorCaseInput(UNBOUNDED);
const promptSchema = labelledPromptInput(UNBOUNDED);
const demonstrationSchema = demonstrationInput(UNBOUNDED);

/** A case of a function vector in token ids. */
export interface VectorCase {
  /** Demonstrations with their right labels, then a query. */
  readonly clean: readonly number[];
  /** The same with the labels shuffled among the demonstrations. */
  readonly shuffled: readonly number[];
  /** The query without demonstrations. */
  readonly zero: readonly number[];
  /** The right answer to the query. */
  readonly answer: number;
}

const SHAPE = 'a case is {"clean": ids or text, "shuffled": ids or text, "zero": ids or text, "answer": id or text}';

/**
 * Reads a case of a function vector; texts are tokenised.
 * @param label names the case; errors start with it
 * @throws HeadscopeError (input) for missing or unknown fields, prompts beyond the context, ids outside the vocabulary, an answer that
 * is not one token, a clean and a shuffled prompt that are the same
 */
export function vectorCase(value: unknown, label: string, model: Model): VectorCase {
  const parsed = caseSchema.safeParse(value);
  if (!parsed.success)
    throw new HeadscopeError("input", `${label}: ${problemOf(value, parsed.error.issues[0]!)}`, { remedy: SHAPE });
  const prompts = { clean: parsed.data.clean, shuffled: parsed.data.shuffled, zero: parsed.data.zero };
  const rows = Object.entries(prompts).map(([name, given]) => idsOf(given, { label, name, model }));
  const [clean, shuffled, zero] = rows as [number[], number[], number[]];
  if (clean.join() === shuffled.join())
    throw new HeadscopeError("input", `${label}: the clean and the shuffled prompt are the same`, {
      remedy: "shuffle the labels of the demonstrations",
    });
  return { clean, shuffled, zero, answer: answerOf(parsed.data.answer, label, model) };
}

/** Ids of a prompt of a case. @param place names the case and the field */
function idsOf(given: string | readonly number[], { label, name, model }: { label: string; name: string; model: Model }): number[] {
  const ids = typeof given === "string" ? encodeText(model, given, undefined, { label: `${label}: ` }) : [...given];
  checkRow(ids, `${label}: ${name}`, { config: model.config });
  return ids;
} // biome-ignore format: one line

/** An example of an in-context vector in token ids: a text, and the same as it is wanted. */
export interface Demonstration {
  readonly source: readonly number[];
  readonly target: readonly number[];
}

/**
 * Reads an example of an in-context vector; texts are tokenised.
 * @param label names the example; errors start with it
 * @throws HeadscopeError (input) for missing or unknown fields, what `checkRow` refuses, and two texts that are the same
 */
export function demonstration(value: unknown, label: string, model: Model): Demonstration {
  const parsed = demonstrationSchema.safeParse(value);
  if (!parsed.success)
    throw new HeadscopeError("input", `${label}: ${problemOf(value, parsed.error.issues[0]!)}`, {
      remedy: 'an example is {"source": ids or text, "target": ids or text}',
    });
  const [source, target] = (["source", "target"] as const).map((name) => idsOf(parsed.data[name], { label, name, model }));
  if (source!.join() === target!.join())
    throw new HeadscopeError("input", `${label}: source and target are the same`, {
      remedy: "give the target as texts are wanted",
    });
  return { source: source!, target: target! };
} // biome-ignore format: one line

const PROMPT_SHAPE = 'an example is {"text": text, "label": label} or {"tokens": ids, "label": label}';

/**
 * Reads a labelled prompt; texts are tokenised.
 * @param label names the example; errors start with it
 * @throws HeadscopeError (input) for missing or unknown fields, both or neither of text and tokens, what `checkRow` refuses
 */
export function labelledPrompt(value: unknown, label: string, model: Model): { tokens: number[]; label: string } {
  const parsed = promptSchema.safeParse(value);
  if (!parsed.success)
    throw new HeadscopeError("input", `${label}: ${problemOf(value, parsed.error.issues[0]!)}`, {
      remedy: PROMPT_SHAPE,
    });
  const { text, tokens, label: own } = parsed.data;
  if ((text === undefined) === (tokens === undefined))
    throw new HeadscopeError("input", `${label}: ${text === undefined ? "it has no text and no tokens" : "text and tokens cannot go together"}`, {
      remedy: PROMPT_SHAPE,
    }); // biome-ignore format: one line
  const ids = text === undefined ? [...tokens!] : encodeText(model, text, undefined, { label: `${label}: ` });
  checkRow(ids, `${label}: ${text === undefined ? "tokens" : "text"}`, { config: model.config });
  return { tokens: ids, label: String(own) };
}

function answerOf(given: string | number, label: string, model: Model): number {
  const ids = typeof given === "string" ? encodeText(model, given, false, { label: `${label}: ` }) : [given];
  if (ids.length !== 1)
    throw new HeadscopeError("input", `${label}: answer ${JSON.stringify(given)} is ${ids.length} tokens`, {
      remedy:
        ids.length === 0
          ? "give one token"
          : `give one token, such as the first of them: ${ids[0]} (mind the space in front)`,
    });
  checkId(ids[0], `${label}: answer`, model.config);
  return ids[0]!;
}

function problemOf(value: unknown, issue: z.core.$ZodIssue): string {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return `it is ${describeJson(value)}`;
  if (issue.code === "unrecognized_keys") return `unknown field ${issue.keys.map((key) => `"${key}"`).join(", ")}`;
  const field = String(issue.path[0]);
  const given = (value as Record<string, unknown>)[field];
  return given === undefined ? `${field} is missing` : `${field} cannot be ${describeJson(given)}`;
}
