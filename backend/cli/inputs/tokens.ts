import { HeadscopeError } from "../../common/errors.ts";
import { readJson, readText } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { checkRows, encodeText, type RowRules } from "../../models/tokens.ts";
import type { TokenOptions } from "../options.ts";

const SHAPE = "a tokens file is a JSON array of rows, each an array of token ids, such as [[1, 2, 3]]";

/**
 * Reads a tokens file: a JSON array of arrays of token ids.
 * @returns [rows][positions] of ids
 * @throws HeadscopeError naming file, row (0-based) and position (0-based)
 */
export async function readTokens(path: string, rules: RowRules): Promise<number[][]> {
  const rows = await readJson(path, "tokens file");
  return about(path, () => {
    if (!Array.isArray(rows)) throw input(`${path} is not an array of rows`, SHAPE);
    if (rows.length > 0 && rows.every(Number.isInteger))
      throw input(`${path} is one row without its outer brackets`, SHAPE);
    checkRows(rows, path, rules);
    return rows as number[][];
  });
}

/**
 * Reads the text of --text-file, as it stands in the file.
 * @param others what may not be given beside it, by flag
 * @returns undefined where no file is given
 * @throws HeadscopeError (usage) beside another flag, (missing) for a file that is not there, (input) for an empty one
 */
export async function textOfFile(
  path: string | undefined,
  others: Readonly<Record<string, unknown>>,
): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const other = Object.keys(others).find((flag) => others[flag] !== undefined);
  if (other !== undefined)
    throw new HeadscopeError("usage", `--text-file and ${other} cannot go together`, { remedy: "give one of them" });
  const text = await readText(path, "text file");
  if (text === "") throw new HeadscopeError("input", `${path} is empty`, { remedy: "give a text", subject: path });
  return text;
}

/** A model as far as texts and token ids are concerned: loaded, or only inspected. */
export type TokenizedModel = Pick<Model, "ref" | "config" | "tokenizer" | "tokenizerFault">;

/**
 * The token rows of --text or --tokens-file.
 * @throws HeadscopeError `usage` unless exactly one of them is given
 */
export async function tokensOf(
  model: TokenizedModel,
  options: TokenOptions,
  rules: Omit<RowRules, "config"> = {},
): Promise<number[][]> {
  if ((options.text === undefined) === (options.tokensFile === undefined)) {
    const what = options.text === undefined ? "no tokens are given" : "--text and --tokens-file cannot go together";
    throw new HeadscopeError("usage", what, { remedy: "give one of --text and --tokens-file" });
  }
  if (options.tokensFile !== undefined) {
    if (options.prependBos !== undefined)
      throw new HeadscopeError("usage", "--prepend-bos and --no-prepend-bos are for --text", {
        remedy: "a tokens file says itself whether its rows begin with BOS",
      });
    return readTokens(options.tokensFile, { ...rules, config: model.config });
  }
  const ids = encode(model, options.text!, options.prependBos);
  checkRows([ids], "the text", { ...rules, config: model.config });
  return [ids];
}

/**
 * Tokenises a text.
 * @param prependBos default: as the model's tokenizer does
 * @throws HeadscopeError for a model without a tokenizer, or BOS asked of one that has none
 */
export function encode(model: TokenizedModel, text: string, prependBos?: boolean): number[] {
  if (prependBos === true && model.tokenizer !== undefined && model.tokenizer.bos === undefined)
    throw new HeadscopeError("usage", `the tokenizer of ${model.ref} has no BOS token`, {
      remedy: "leave --prepend-bos out",
    });
  return encodeText(model, text, prependBos, { remedy: "give token ids with --tokens-file" });
}

/** Does some work over a file's contents; its errors have the file's path as their subject. */
export function about<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof HeadscopeError)) throw error;
    throw new HeadscopeError(error.kind, error.message, { ...error, cause: error, subject: path });
  }
}

/** An error in what the user has given. */
export function input(message: string, remedy: string): HeadscopeError {
  return new HeadscopeError("input", message, { remedy });
}
