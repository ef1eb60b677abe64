import type { Question } from "../../circuits/questions.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { Model } from "../../models/model.ts";
import type { QuestionOptions } from "../options.ts";
import { readPairFile } from "./case-files.ts";
import { tokensOf } from "./tokens.ts";

/**
 * The prompts of --pair-file, or those of --text or --tokens-file with --answer and --wrong.
 * @throws HeadscopeError (usage) for neither, or both
 */
export async function questionsOf(model: Model, options: QuestionOptions): Promise<Question[]> {
  const { pairFile, text, tokensFile, answer, wrong, prependBos } = options;
  if (pairFile !== undefined) {
    const other = Object.entries({ text, "tokens-file": tokensFile, answer, wrong }).find(
      ([, value]) => value !== undefined,
    );
    if (other)
      throw new HeadscopeError("usage", `--pair-file and --${other[0]} cannot go together`, {
        remedy: "a pair has its prompts and answers itself",
      });
    return readPairFile(pairFile, model, prependBos);
  }
  if (text === undefined && tokensFile === undefined)
    throw new HeadscopeError("usage", "no prompt is given", {
      remedy: "give --pair-file, or --text or --tokens-file with --answer and --wrong",
    });
  if (answer === undefined || wrong === undefined)
    throw new HeadscopeError("usage", `--${answer === undefined ? "answer" : "wrong"} is missing`, {
      remedy: "give --answer and --wrong, each an id or a text of one token",
    });
  const rows = await tokensOf(model, options);
  return rows.map((clean) => ({ clean, answer: tokenOf(answer), wrong: tokenOf(wrong) }));
}

/** A token as users write it: digits are an id, everything else is text. */
export function tokenOf(text: string): number | string {
  return /^\d+$/.test(text) ? Number(text) : text;
}
