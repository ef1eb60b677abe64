import { Template } from "@huggingface/jinja";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { HeadscopeError } from "../../errors.ts";

/** One turn of a conversation, for a chat template. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Text to token ids and back, as the model's authors do it. */
export interface Tokenizer {
  /**
   * Token ids of a text; special tokens written out in it ("<|im_start|>") become their own ids.
   * @param options.prependBos begin with BOS; default: `addsBos`
   * @throws HeadscopeError "usage" when BOS is asked for and there is none
   */
  encode(text: string, options?: { prependBos?: boolean }): number[];
  /**
   * Text of token ids; bytes that are no UTF-8 become U+FFFD.
   * @param options.skipSpecial leave out special tokens, default false
   * @throws HeadscopeError "input" for an id outside the vocabulary
   */
  decode(ids: readonly number[], options?: { skipSpecial?: boolean }): string;
  /** Text of one token as it stands in a text: " France", not "ĠFrance". Throws as `decode` does. */
  token(id: number): string;
  /** Number of tokens, special ones included. */
  readonly size: number;
  readonly bos?: number;
  readonly eos?: number;
  /** Whether the tokenizer's own settings put BOS before every text. */
  readonly addsBos: boolean;
  /** Whether it has a chat template. */
  readonly chats: boolean;
  /**
   * A conversation as one text, by the model's chat template.
   * @param options.addGenerationPrompt end with the opening of the assistant's turn, default false
   * @throws HeadscopeError "unsupported" without a chat template, "input" when the template refuses the messages
   */
  chat(messages: readonly ChatMessage[], options?: { addGenerationPrompt?: boolean }): string;
}

interface Settings {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly addsBos: boolean;
  readonly chatTemplate: string | undefined;
}

/** @param make called at the first use: a vocabulary of 50,000 takes some 0.3 s, and much work is on ids alone */
function build(make: () => HuggingFaceTokenizer, size: number, settings: Settings): Tokenizer {
  const { bos, eos, addsBos, chatTemplate } = settings;
  let made: HuggingFaceTokenizer | undefined;
  const tokenizer = () => {
    made ??= make();
    return made;
  };
  const text = (id: number | undefined) => (id === undefined ? "" : (tokenizer().id_to_token(id) ?? ""));
  const known = (id: number) => Number.isInteger(id) && tokenizer().id_to_token(id) !== undefined;
  let template: Template | undefined;

  function decode(ids: readonly number[], { skipSpecial = false }: { skipSpecial?: boolean } = {}): string {
    const stranger = ids.find((id) => !known(id));
    if (stranger !== undefined) {
      throw new HeadscopeError("input", `token id ${stranger} is outside the vocabulary`, {
        remedy: `ids go from 0 to ${size - 1}`,
      });
    }
    if (ids.length === 0) return "";
    return tokenizer().decode([...ids], { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false });
  }

  return {
    size,
    addsBos,
    chats: chatTemplate !== undefined,
    ...(bos === undefined ? {} : { bos }),
    ...(eos === undefined ? {} : { eos }),
    encode(input, { prependBos = addsBos } = {}) {
      const { ids } = tokenizer().encode(input, { add_special_tokens: false });
      if (!prependBos) return ids;
      if (bos === undefined) {
        throw new HeadscopeError("usage", "this model's tokenizer has no BOS token", { remedy: "leave BOS out" });
      }
      return [bos, ...ids];
    },
    decode,
    token: (id) => decode([id]),
    chat(messages, { addGenerationPrompt = false } = {}) {
      if (chatTemplate === undefined) {
        throw new HeadscopeError("unsupported", "this model has no chat template", { remedy: "give it plain text" });
      }
      try {
        template ??= new Template(chatTemplate);
        return template.render({
          messages,
          add_generation_prompt: addGenerationPrompt,
          bos_token: text(bos),
          eos_token: text(eos),
        });
      } catch (cause) {
        throw new HeadscopeError("input", `the chat template refuses these messages (${(cause as Error).message})`, {
          remedy: "give a list of {role, content} that begins as the model expects",
          cause,
        });
      }
    },
  };
}

const byteLevel = (useRegex: boolean) => ({
  type: "ByteLevel",
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});

/**
 * tokenizer.json's Digits as the original means it: every numeric character, ½ and Ⅷ too. The package's own stops at
 * decimal digits, and gives other ids there.
 */
const digits = (individual: boolean) => ({
  type: "Split",
  pattern: { Regex: individual ? "\\p{N}" : "\\p{N}+" },
  behavior: "Isolated",
  invert: false,
});

/** A pre-tokenizer of tokenizer.json with its Digits, at any depth of sequences, put right. */
function withDigits(component: unknown): unknown {
  const step = component as
    | { type?: string; individual_digits?: boolean; pretokenizers?: unknown[] }
    | null
    | undefined;
  if (step?.type === "Digits") return digits(step.individual_digits === true);
  if (!Array.isArray(step?.pretokenizers)) return component;
  return { ...step, pretokenizers: step.pretokenizers.map(withDigits) };
}

/** How each `tokenizer.ggml.pre` cuts a text before merging, in the terms of tokenizer.json. */
const PRE_TOKENIZERS: Readonly<Record<string, object>> = {
  "gpt-2": byteLevel(true),
  smollm: {
    type: "Sequence",
    pretokenizers: [digits(true), byteLevel(true)],
  },
};

/** `tokenizer.ggml.token_type`: control tokens are special; user-defined ones are only never split. */
const [CONTROL, USER_DEFINED] = [3, 4] as const;

const damaged = (what: string) =>
  new HeadscopeError("corrupt", `the tokenizer in the GGUF file is damaged: ${what}`, {
    remedy: "fetch the file again",
  });

function strings(metadata: Readonly<Record<string, unknown>>, key: string): readonly string[] {
  const value = metadata[key];
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw damaged(`${key} is ${value === undefined ? "missing" : "no list of strings"}`);
  }
  return value;
}

function tokenId(metadata: Readonly<Record<string, unknown>>, key: string, size: number): number | undefined {
  const id = metadata[key];
  if (id === undefined) return undefined;
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= size) {
    throw damaged(`${key} is ${String(id)}, and the vocabulary has ${size} tokens`);
  }
  return id;
}

function vocabulary(tokens: readonly string[]): Map<string, number> {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const before = ids.get(token);
    if (before !== undefined) throw damaged(`ids ${before} and ${id} are the same token ${JSON.stringify(token)}`);
    ids.set(token, id);
  }
  return ids;
}

/** Merges as pairs. A byte-level token holds no space (byte 32 is written Ġ), so the first one divides the two. */
function pairs(merges: readonly string[], ids: ReadonlyMap<string, number>): [string, string][] {
  return merges.map((merge) => {
    const space = merge.indexOf(" ");
    const [left, right] = [merge.slice(0, space), merge.slice(space + 1)];
    if (space < 1 || !ids.has(left) || !ids.has(right) || !ids.has(left + right)) {
      throw damaged(`the merge ${JSON.stringify(merge.slice(0, 60))} joins no two tokens into a third`);
    }
    return [left, right];
  });
}

/**
 * The tokenizer that a GGUF file carries: byte-level BPE from its tokens and merges.
 * @param metadata the file's key-value pairs (`tokenizer.ggml.*`, `tokenizer.chat_template`)
 * @throws HeadscopeError "unsupported" for another kind of tokenizer, "corrupt" for a damaged one
 */
export function tokenizerFromGguf(metadata: Readonly<Record<string, unknown>>): Tokenizer {
  const model = metadata["tokenizer.ggml.model"];
  if (model !== "gpt2") {
    const found = model === undefined ? "no tokenizer" : `a tokenizer of kind "${String(model)}"`;
    throw new HeadscopeError("unsupported", `the GGUF file has ${found}; byte-level BPE ("gpt2") is read`, {
      remedy: "give token ids instead of text",
    });
  }
  const pre = metadata["tokenizer.ggml.pre"] ?? "gpt-2";
  if (typeof pre !== "string" || !Object.hasOwn(PRE_TOKENIZERS, pre)) {
    const known = Object.keys(PRE_TOKENIZERS).join(", ");
    throw new HeadscopeError("unsupported", `the tokenizer cuts texts as "${String(pre)}"; ${known} are known`, {
      remedy: "give token ids instead of text",
    });
  }
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  const ids = vocabulary(tokens);
  const types = metadata["tokenizer.ggml.token_type"];
  const kinds = ArrayBuffer.isView(types) ? (types as Int32Array) : undefined;
  if (kinds !== undefined && kinds.length !== tokens.length) {
    throw damaged(`tokenizer.ggml.token_type has ${kinds.length} entries for ${tokens.length} tokens`);
  }
  const added = tokens.flatMap((content, id) => {
    const kind = kinds?.[id];
    if (kind !== CONTROL && kind !== USER_DEFINED) return [];
    const special = kind === CONTROL;
    return [{ id, content, special, single_word: false, lstrip: false, rstrip: false, normalized: false }];
  });
  const tokenizerJson = {
    version: "1.0",
    normalizer: null,
    pre_tokenizer: PRE_TOKENIZERS[pre],
    post_processor: null,
    decoder: byteLevel(true),
    added_tokens: added,
    model: {
      type: "BPE",
      vocab: Object.fromEntries(ids),
      merges: pairs(strings(metadata, "tokenizer.ggml.merges"), ids),
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
    },
  };
  const template = metadata["tokenizer.chat_template"];
  const bos = tokenId(metadata, "tokenizer.ggml.bos_token_id", tokens.length);
  return build(() => new HuggingFaceTokenizer(tokenizerJson, {}), tokens.length, {
    bos,
    eos: tokenId(metadata, "tokenizer.ggml.eos_token_id", tokens.length),
    addsBos: metadata["tokenizer.ggml.add_bos_token"] === true && bos !== undefined,
    chatTemplate: typeof template === "string" ? template : undefined,
  });
}

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
    const pre = withDigits((tokenizerJson as Record<string, unknown>)["pre_tokenizer"]);
    tokenizer = new HuggingFaceTokenizer({ ...tokenizerJson, pre_tokenizer: pre }, tokenizerConfig);
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
  return build(() => tokenizer, tokenizer.get_vocab(true).size, {
    bos,
    eos: id("eos_token"),
    addsBos: bos !== undefined && (tokenizerConfig["add_bos_token"] === true || first === bos),
    chatTemplate: templateOf(tokenizerConfig["chat_template"]),
  });
}
