import { HeadscopeError } from "../common/errors.ts";
import type { TokenPool } from "../common/random.ts";
import { describeJson } from "../json.ts";
import type { ModelConfig } from "./config.ts";
import type { Model } from "./model.ts";
import type { Tokenizer } from "./tokenizers/tokenizer.ts";

/** A model as far as texts are concerned. */
type Textual = Pick<Model, "ref" | "tokenizer" | "tokenizerFault">;

/**
 * A model's tokenizer.
 * @param options.label stands before the error's message @param options.remedy what to do in a model without a tokenizer
 * @throws HeadscopeError for a model without one, with what is wrong with the one that its files hold
 */
export function requireTokenizer(
  { ref, tokenizer, tokenizerFault: fault }: Textual,
  { label = "", remedy = "give token ids" }: { label?: string; remedy?: string } = {},
): Tokenizer {
  if (tokenizer) return tokenizer;
  const why = fault === undefined ? "has no tokenizer" : `has a tokenizer that cannot be used (${fault})`;
  throw new HeadscopeError("unsupported", `${label}${ref} ${why}, so it takes no text`, { remedy });
}

/**
 * Token ids of a text.
 * @param prependBos default: as the model's tokenizer does
 * @param options as for `requireTokenizer`
 * @throws HeadscopeError for a model without a tokenizer, or BOS asked of one that has none
 */
export function encodeText(
  model: Textual,
  text: string,
  prependBos?: boolean,
  options: { label?: string; remedy?: string } = {},
): number[] {
  return requireTokenizer(model, options).encode(text, { prependBos });
}

/** The ids that random rows for a model are made of; a model without BOS has id 0 in its place. */
export function tokenPool({ config, tokenizer }: Pick<Model, "config" | "tokenizer">): TokenPool {
  return { vocabulary: config.d_vocab, first: tokenizer?.bos ?? 0, last: tokenizer?.eos };
}

/** Token ids of one sequence; also a typed array. */
export type TokenRow = readonly number[];

/** Rules that rows of token ids must satisfy. */
export interface RowRules {
  /** The model's vocabulary and context. */
  readonly config: Pick<ModelConfig, "d_vocab" | "n_ctx">;
  /** Who needs rows of one length, such as "probe induction"; absent where rows may differ. */
  readonly equalRows?: string | undefined;
  /** Fewest tokens of a row, default 1. */
  readonly least?: number | undefined;
}

/**
 * Checks rows of token ids: the one check of every door by which tokens come in.
 * @param label where they come from; "" for nowhere
 * @throws HeadscopeError (input) naming row and position, both from 0
 */
export function checkRows(rows: readonly unknown[], label: string, rules: RowRules): asserts rows is TokenRow[] {
  const prefix = label && `${label}: `;
  if (rows.length === 0)
    throw refused(
      label ? `${label} holds no row` : "there is no row of tokens",
      "give at least one, such as [[1, 2, 3]]",
    );
  for (const [r, row] of rows.entries()) checkRow(row, `${prefix}row ${r}`, rules);
  const lengths = (rows as readonly TokenRow[]).map((row) => row.length);
  const odd = lengths.findIndex((length) => length !== lengths[0]);
  if (rules.equalRows !== undefined && odd > 0)
    throw refused(
      `${prefix}row ${odd} has ${lengths[odd]} tokens and row 0 has ${lengths[0]}`,
      `${rules.equalRows} needs rows of one length: cut them, or run it once for each length`,
    );
}

/**
 * Checks one row of token ids.
 * @param label names the row; errors start with it
 * @throws HeadscopeError (input) naming the position, from 0
 */
export function checkRow(row: unknown, label: string, { config, least = 1 }: RowRules): asserts row is TokenRow {
  if (!Array.isArray(row) && !ArrayBuffer.isView(row))
    throw refused(`${label} is ${describeJson(row)}, not an array of token ids`, "rows are such as [[1, 2, 3]]");
  const ids = row as TokenRow;
  const position = ids.findIndex((id) => !isId(id, config));
  if (position >= 0) checkId(ids[position], `${label}, position ${position}`, config);
  checkFits(ids.length, label, config);
  if (ids.length < least)
    throw refused(`${label} has ${ids.length} tokens`, `give at least ${least === 1 ? "one" : least}`);
}

/** Checks a token id. @throws HeadscopeError (input) beginning with `label` */
export function checkId(id: unknown, label: string, config: Pick<ModelConfig, "d_vocab">): asserts id is number {
  if (isId(id, config)) return;
  if (!Number.isInteger(id)) throw refused(`${label}: ${describeJson(id)} is not a token id`, "give whole numbers");
  throw refused(`${label}: id ${id} is outside the vocabulary`, `ids are 0 to ${config.d_vocab - 1}`);
}

/** Checks that so many tokens fit into a model's context. @throws HeadscopeError (input) beginning with `label` */
export function checkFits(tokens: number, label: string, { n_ctx }: Pick<ModelConfig, "n_ctx">): void {
  if (tokens > n_ctx)
    throw refused(
      `${label} has ${tokens} tokens, more than the model's context of ${n_ctx}`,
      `cut it to ${n_ctx} tokens`,
    );
}

function isId(id: unknown, { d_vocab }: Pick<ModelConfig, "d_vocab">): boolean {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < d_vocab;
}

function refused(what: string, remedy: string): HeadscopeError {
  return new HeadscopeError("input", what, { remedy });
}
