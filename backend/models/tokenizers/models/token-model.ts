import { HeadscopeError } from "../../../common/errors.ts";
import { LONGEST_TOKEN, MOST_TOKENS } from "../../formats/budgets.ts";

/** Maker of token ids from a piece of text. */
export interface TokenIds {
  /**
   * Appends the ids of a piece, which is not empty.
   * @throws HeadscopeError "unsupported" for a piece that needs an unknown token where there is none
   */
  encode(piece: string, ids: number[]): void;
}

/** A model's tokens with their ids. */
export class Vocabulary {
  readonly ids: ReadonlyMap<string, number>;
  /** Token of each id; where two tokens have one id, the later one. */
  readonly tokens: ReadonlyMap<number, string> | readonly (string | undefined)[];

  constructor(ids: ReadonlyMap<string, number>, tokens: Vocabulary["tokens"]) {
    this.ids = ids;
    this.tokens = tokens;
  }

  /** Text of an id as the vocabulary writes it. */
  token(id: number): string | undefined {
    return this.tokens instanceof Map ? this.tokens.get(id) : (this.tokens as readonly (string | undefined)[])[id];
  }
}

/**
 * A vocabulary from an object of tokens and ids, with holes or without.
 * @throws HeadscopeError "unsupported" for what is no id, or one beyond what is read
 */
export function vocabularyOf(vocab: Readonly<Record<string, unknown>>): Vocabulary {
  const ids = new Map<string, number>();
  const tokens: (string | undefined)[] = [];
  for (const token of Object.keys(vocab)) {
    const id = vocab[token];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MOST_TOKENS)
      throw damaged(`the token ${JSON.stringify(token.slice(0, 60))} has the id ${String(id).slice(0, 40)}`);
    if (token.length > LONGEST_TOKEN)
      throw damaged(`a token has ${token.length} characters; ${LONGEST_TOKEN} are the most`);
    ids.set(token, id);
  }
  const largest = ids.size === 0 ? -1 : [...ids.values()].reduce((most, id) => Math.max(most, id), -1);
  // A list with few holes is fast; one with many would be as long as its largest id.
  if (largest > 4 * ids.size + 1024) return new Vocabulary(ids, new Map([...ids].map(([token, id]) => [id, token])));
  for (let id = 0; id <= largest; id++) tokens.push(undefined);
  for (const [token, id] of ids) tokens[id] = token;
  return new Vocabulary(ids, tokens);
}

/** A tokenizer whose parts contradict each other: it cannot be used, and the model can. */
export function damaged(what: string): HeadscopeError {
  return new HeadscopeError("corrupt", `the tokenizer is damaged: ${what}`, {
    remedy: "give token ids instead of text",
  });
}
