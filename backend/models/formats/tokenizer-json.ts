import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { HeadscopeError } from "../../errors.ts";
import { buildTokenizer, type Tokenizer } from "./tokenizer.ts";
import { asWritten, stripsFirst } from "./tokenizer-pipeline.ts";

/** A special token in tokenizer_config.json: its text, or an object that holds it. */
const content = (token: unknown): string | undefined =>
  typeof token === "string" ? token : (token as { content?: string } | null | undefined)?.content;

/** The default of several named templates, or the only one. */
function templateOf(value: unknown): string | undefined {
  if (!Array.isArray(value)) return typeof value === "string" ? value : undefined;
  const named = value as { name?: string; template?: string }[];
  return (named.find(({ name }) => name === "default") ?? named[0])?.template;
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
  let tokenizer: HuggingFaceTokenizer;
  try {
    tokenizer = new HuggingFaceTokenizer(asWritten(tokenizerJson), tokenizerConfig);
  } catch (cause) {
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
  // Two ways of saying it: the flag, or a post-processor that puts the token there.
  const first = tokenizer.encode("a", { add_special_tokens: true }).ids[0];
  return buildTokenizer(() => tokenizer, tokenizer.get_vocab(true).size, {
    bos,
    eos: id("eos_token"),
    addsBos: bos !== undefined && (tokenizerConfig["add_bos_token"] === true || first === bos),
    chatTemplate: templateOf(tokenizerConfig["chat_template"]),
    stripsFirst: stripsFirst((tokenizerJson as { decoder?: unknown }).decoder),
  });
}
