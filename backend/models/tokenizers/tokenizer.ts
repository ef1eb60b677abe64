import { HeadscopeError } from "../../common/errors.ts";
import { BUILD_MS, PATTERN_MS, PATTERN_MS_PER_CHARACTER } from "../formats/budgets.ts";
import { renderTemplate } from "./chat/process.ts";
import type { Pipeline } from "./pipeline.ts";
import { withinTime } from "./within-time.ts";

/** One turn of a conversation, for a chat template. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Text to token ids and back, as the model's authors do it. */
export interface Tokenizer {
  /**
   * Token ids of a text; special tokens written out in it ("<|im_start|>") become their own ids.
   * @param options.prependBos true: BOS in front, in place of what the tokenizer's rule puts there; false: the text alone,
   *   with nothing around it; default: the rule, `front` and `behind`
   * @throws HeadscopeError "usage" when BOS is asked for and there is none, "unsupported" when its patterns take too long
   */
  encode(text: string, options?: { prependBos?: boolean | undefined }): number[];
  /**
   * Text of token ids; bytes that are no UTF-8 become U+FFFD. An id beyond the vocabulary (models have more rows than their
   * tokenizers have tokens) has no text.
   * @param options.skipSpecial leave out special tokens, default false
   * @throws HeadscopeError "input" for what is no id: a negative number or a fraction
   */
  decode(ids: readonly number[], options?: { skipSpecial?: boolean }): string;
  /**
   * True when the text of tokens that end with a whole character is the beginning of the text of those and more. False where a
   * last token's text is another.
   */
  readonly grows: boolean;
  /**
   * A label of one token: its text as it stands in a text (" France", not "ĠFrance"), or the id in brackets ("[395]") where the
   * tokenizer has no such token. Throws as `decode` does.
   */
  token(id: number): string;
  /** A token as the vocabulary spells it: "ĠFrance", "<0xE8>"; undefined for an id that it has not. */
  spelling(id: number): string | undefined;
  /** Number of tokens, special ones included. */
  readonly size: number;
  readonly bos?: number | undefined;
  readonly eos?: number | undefined;
  /** Ids that the tokenizer's own rule puts before a whole text, and behind it. */
  readonly front: readonly number[];
  readonly behind: readonly number[];
  /** True when `front` begins with BOS. */
  readonly addsBos: boolean;
  /** Oddities of the tokenizer's files and what was made of them; one sentence each. */
  readonly notes: readonly string[];
  /** True with a chat template. */
  readonly chats: boolean;
  /**
   * A conversation as one text, by the model's chat template.
   * @param options.addGenerationPrompt end with the opening of the assistant's turn, default false
   * @throws HeadscopeError "unsupported" without a chat template, or for one that uses what is not known here or takes too long; "input" when the
   *   template refuses the messages
   */
  chat(messages: readonly ChatMessage[], options?: { addGenerationPrompt?: boolean }): string;
}

/** Settings of a tokenizer beside its pipeline. */
export interface Settings {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly front: readonly number[];
  readonly behind: readonly number[];
  readonly chatTemplate: string | undefined;
  /** Special tokens by the names that templates have for them, such as bos_token. */
  readonly specialTokens: Readonly<Record<string, string>>;
  readonly notes: readonly string[];
}

/**
 * A tokenizer over a pipeline.
 * @param make called at the first use: much work is on ids alone
 * @param size number of tokens
 */
export function buildTokenizer(make: () => Pipeline, size: number, settings: Settings): Tokenizer {
  const { bos, eos, front, behind, chatTemplate, specialTokens, notes } = settings;
  let held: Pipeline | undefined;
  const pipeline = (): Pipeline => {
    held ??= built(make);
    return held;
  };

  function decode(ids: readonly number[], { skipSpecial = false }: { skipSpecial?: boolean } = {}): string {
    const stranger = ids.find((id) => !Number.isInteger(id) || id < 0);
    if (stranger !== undefined)
      throw new HeadscopeError("input", `${stranger} is no token id`, { remedy: "give integers of at least 0" });
    if (ids.length === 0) return "";
    const whole = pipeline();
    const work = (): string => whole.decode(ids, skipSpecial);
    return whole.decodesByPattern ? inTime(ids.length, work, "these tokens") : work();
  }

  return {
    size,
    front,
    behind,
    addsBos: bos !== undefined && front[0] === bos,
    notes,
    chats: chatTemplate !== undefined,
    bos,
    eos,
    encode(text, { prependBos } = {}) {
      if (prependBos === true && bos === undefined)
        throw new HeadscopeError("usage", "this model's tokenizer has no BOS token", { remedy: "leave BOS out" });
      const whole = pipeline();
      const ids = inTime(text.length, () => whole.encode(text), "this text");
      if (prependBos === false) return ids;
      return [...(prependBos ? [bos!] : front), ...ids, ...behind];
    },
    decode,
    get grows() {
      return pipeline().grows;
    },
    token(id) {
      const alone = decode([id]);
      if (pipeline().token(id) === undefined) return `[${id}]`;
      // Beside itself a token is no longer the first one, which may lose its space.
      return pipeline().firstDiffers ? decode([id, id]).slice(alone.length) : alone;
    },
    spelling: (id) => pipeline().token(id),
    chat(messages, { addGenerationPrompt = false } = {}) {
      if (chatTemplate === undefined)
        throw new HeadscopeError("unsupported", "this model has no chat template", { remedy: "give it plain text" });
      return renderTemplate(chatTemplate, { ...specialTokens, messages, add_generation_prompt: addGenerationPrompt });
    },
  };
}

/**
 * Does what a tokenizer's patterns decide about; some of them backtrack for ever.
 * @param length characters or tokens of the input
 * @throws HeadscopeError "unsupported" when it takes too long
 */
export function inTime<T>(length: number, work: () => T, input: string): T {
  const late = () => tooSlow(`takes too long over ${input} of ${length}`);
  return withinTime(PATTERN_MS + length * PATTERN_MS_PER_CHARACTER, work, late);
}

/**
 * Builds a tokenizer out of its files.
 * @throws HeadscopeError "unsupported" when it takes too long
 */
export function built(make: () => Pipeline): Pipeline {
  return withinTime(BUILD_MS, make, () => tooSlow("takes too long to be built"));
}

function tooSlow(what: string): HeadscopeError {
  return new HeadscopeError("unsupported", `the model's tokenizer ${what}`, {
    remedy: "give token ids instead of text",
  });
}
