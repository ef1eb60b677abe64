import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { HeadscopeError } from "../../errors.ts";
import { LONGEST_TOKEN, MOST_MERGES, MOST_PIECES, MOST_TOKENS } from "./budgets.ts";
import { buildTokenizer, built, inTime, type Tokenizer } from "./tokenizer.ts";
import { asWritten, stripsFirst } from "./tokenizer-pipeline.ts";

/** A special token in tokenizer_config.json: its text, or an object that holds it. */
function content(token: unknown): string | undefined {
  const text = typeof token === "string" ? token : (token as { content?: unknown } | null | undefined)?.content;
  return typeof text === "string" ? text : undefined;
}

/** The default of several named templates, or the only one. */
function templateOf(value: unknown): string | undefined {
  if (!Array.isArray(value)) return typeof value === "string" ? value : undefined;
  const named = value as ({ name?: unknown; template?: unknown } | null)[];
  const template = (named.find((each) => each?.name === "default") ?? named[0])?.template;
  return typeof template === "string" ? template : undefined;
}

/** Refuses a tokenizer.json that is small and would be large: the package makes lists as long as the highest id. */
function checkBudgets({ model, added_tokens: added, ...pipeline }: TokenizerJson): void {
  if (objectsIn(pipeline) > MOST_PIECES) throw tooLarge(`has a pipeline of more than ${MOST_PIECES} pieces`);
  const { vocab = {}, merges = [] } = (model ?? {}) as { vocab?: unknown; merges?: unknown };
  // A Unigram model has a list of pairs of token and score.
  const pairs: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((pair, id) => [(pair as unknown[] | null)?.[0], id])
    : Object.entries(vocab as object);
  if (Array.isArray(added))
    for (const token of added as ({ content?: unknown; id?: unknown } | null)[])
      pairs.push([token?.content, token?.id]);
  if (pairs.length > MOST_TOKENS) throw tooLarge(`has ${pairs.length} tokens; ${MOST_TOKENS} are the most`);
  for (const [token, id] of pairs) {
    if (typeof token !== "string" || token.length > LONGEST_TOKEN)
      throw tooLarge(`has a token that is no text of at most ${LONGEST_TOKEN} characters`);
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= MOST_TOKENS)
      throw tooLarge(`has the id ${String(id).slice(0, 40)}; ids go from 0 to ${MOST_TOKENS - 1}`);
  }
  if (Array.isArray(merges) && merges.length > MOST_MERGES)
    throw tooLarge(`has ${merges.length} merges; ${MOST_MERGES} are the most`);
}

function objectsIn(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce((sum: number, part) => sum + objectsIn(part), 1);
}

/** The parts of tokenizer.json that are not steps of its pipeline. */
interface TokenizerJson {
  readonly model?: unknown;
  readonly added_tokens?: unknown;
  readonly decoder?: unknown;
}

function tooLarge(what: string): HeadscopeError {
  return new HeadscopeError("corrupt", `tokenizer.json ${what}`, { remedy: "fetch the model again" });
}

/**
 * The tokenizer of a Hugging Face folder.
 * @param tokenizerJson parsed tokenizer.json
 * @param tokenizerConfig parsed tokenizer_config.json (special tokens, chat template); {} without one
 * @throws HeadscopeError "unsupported" when a component of it is not known
 */
export function tokenizerFromJson(
  tokenizerJson: object,
  tokenizerConfig: Readonly<Record<string, unknown>>,
): Tokenizer {
  checkBudgets(tokenizerJson);
  const { decoder } = tokenizerJson as TokenizerJson;
  let tokenizer: HuggingFaceTokenizer;
  let first: number | undefined;
  try {
    tokenizer = built(() => new HuggingFaceTokenizer(asWritten(tokenizerJson), tokenizerConfig));
    // Two ways of saying that BOS comes first: the flag, or a post-processor that puts the token there.
    first = inTime(1, () => tokenizer.encode("a", { add_special_tokens: true }).ids[0], "a text");
  } catch (cause) {
    if (cause instanceof HeadscopeError) throw cause;
    throw new HeadscopeError("unsupported", `tokenizer.json can't be used (${(cause as Error).message})`, {
      remedy: "give token ids instead of text",
      cause,
    });
  }
  const id = (name: string) => {
    const text = content(tokenizerConfig[name]);
    return text === undefined ? undefined : tokenizer.token_to_id(text);
  };
  const bos = id("bos_token");
  return buildTokenizer(() => tokenizer, tokenizer.get_vocab(true).size, {
    bos,
    eos: id("eos_token"),
    addsBos: bos !== undefined && (tokenizerConfig["add_bos_token"] === true || first === bos),
    chatTemplate: templateOf(tokenizerConfig["chat_template"]),
    stripsFirst: stripsFirst(decoder),
    decodesByPattern: JSON.stringify(decoder ?? null).includes('"Regex"'),
  });
}
