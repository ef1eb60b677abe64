import { HeadscopeError } from "../../common/errors.ts";
import { readJson } from "../../json.ts";
import type { ModelConfig } from "../../models/config.ts";
import { encodeText } from "../../models/encode.ts";
import type { Model } from "../../models/model.ts";
import type { TokenOptions } from "../options.ts";

/** Demands on token rows. */
export interface RowRules {
  /** The model's vocabulary and context. */
  readonly config: Pick<ModelConfig, "d_vocab" | "n_ctx">;
  /** Who needs rows of one length, such as "probe induction"; absent when rows may differ. */
  readonly equalRows?: string | undefined;
  /** Fewest tokens of a row, default 1. */
  readonly least?: number;
}

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
    if (rows.length === 0) throw input(`${path} holds no row`, SHAPE);
    if (rows.every(Number.isInteger)) throw input(`${path} is one row without its outer brackets`, SHAPE);
    return checkRows(rows, path, rules);
  });
}

/**
 * Checks rows of token ids.
 * @param label where they come from; errors start with it
 */
export function checkRows(rows: readonly unknown[], label: string, rules: RowRules): number[][] {
  const checked = rows.map((row, r) => checkRow(row, `${label}: row ${r}`, rules));
  const { equalRows } = rules;
  const odd = checked.findIndex((row) => row.length !== checked[0]!.length);
  if (equalRows !== undefined && odd > 0)
    throw input(
      `${label}: row ${odd} has ${checked[odd]!.length} tokens and row 0 has ${checked[0]!.length}`,
      `${equalRows} needs rows of one length: cut them, or run it once for each length`,
    );
  return checked;
}

/** Checks one row of token ids. @param label names the row; errors start with it */
export function checkRow(row: unknown, label: string, { config, least = 1 }: RowRules): number[] {
  if (!Array.isArray(row)) throw input(`${label} is ${describe(row)}, not an array of token ids`, SHAPE);
  row.forEach((id, position) => {
    if (!Number.isInteger(id))
      throw input(`${label}, position ${position}: ${describe(id)} is not a token id`, "give whole numbers");
    if (id < 0 || id >= config.d_vocab)
      throw input(
        `${label}, position ${position}: id ${id} is outside the vocabulary`,
        `ids are 0 to ${config.d_vocab - 1}`,
      );
  });
  if (row.length > config.n_ctx)
    throw input(
      `${label} has ${row.length} tokens, more than the model's context of ${config.n_ctx}`,
      `cut it to ${config.n_ctx} tokens`,
    );
  if (row.length < least)
    throw input(`${label} has ${row.length} tokens`, `give at least ${least === 1 ? "one" : least}`);
  return row as number[];
}

/**
 * The token rows of --text or --tokens-file.
 * @throws HeadscopeError `usage` unless exactly one of them is given
 */
export async function tokensOf(
  model: Model,
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
  return checkRows([encode(model, options.text!, options.prependBos)], "the text", { ...rules, config: model.config });
}

/**
 * Tokenises a text.
 * @param prependBos default: as the model's tokenizer does
 * @throws HeadscopeError for a model without a tokenizer, or BOS asked of one that has none
 */
export function encode(model: Model, text: string, prependBos?: boolean): number[] {
  if (prependBos === true && model.tokenizer !== undefined && model.tokenizer.bos === undefined)
    throw new HeadscopeError("usage", `the tokenizer of ${model.ref} has no BOS token`, {
      remedy: "leave --prepend-bos out",
    });
  return encodeText(model, text, prependBos, { remedy: "give token ids with --tokens-file" });
}

/** Names an unexpected JSON value in a word or two. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "nothing";
  return "an object";
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
