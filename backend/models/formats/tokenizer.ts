import type { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { HeadscopeError } from "../../errors.ts";
import { BUILD_MS, PATTERN_MS, PATTERN_MS_PER_CHARACTER } from "./budgets.ts";
import { renderTemplate } from "./chat-template.ts";
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
   * @param options.prependBos begin with BOS; default: `addsBos`
   * @throws HeadscopeError "usage" when BOS is asked for and there is none, "unsupported" when its patterns take too long
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
   * @throws HeadscopeError "unsupported" without a chat template or with one that takes too long, "input" when the template
   * refuses the messages
   */
  chat(messages: readonly ChatMessage[], options?: { addGenerationPrompt?: boolean }): string;
}

/** What is known of a tokenizer beside its pipeline. */
export interface Settings {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly addsBos: boolean;
  readonly chatTemplate: string | undefined;
  /** Whether its decoder takes the space from before the first token of a text. */
  readonly stripsFirst: boolean;
  /** Whether its decoder uses regular expressions of the file, which may never end; default false. */
  readonly decodesByPattern?: boolean;
}

/**
 * A tokenizer over the package's.
 * @param make called at the first use: a vocabulary of 50,000 takes some 0.3 s, and much work is on ids alone
 * @param size number of tokens
 */
export function buildTokenizer(make: () => HuggingFaceTokenizer, size: number, settings: Settings): Tokenizer {
  const { bos, eos, addsBos, chatTemplate, stripsFirst, decodesByPattern = false } = settings;
  let made: HuggingFaceTokenizer | undefined;
  const tokenizer = () => {
    made ??= keepingMarks(built(make));
    return made;
  };
  const text = (id: number | undefined) => (id === undefined ? "" : (tokenizer().id_to_token(id) ?? ""));
  const known = (id: number) => Number.isInteger(id) && tokenizer().id_to_token(id) !== undefined;

  function decode(ids: readonly number[], { skipSpecial = false }: { skipSpecial?: boolean } = {}): string {
    const stranger = ids.find((id) => !known(id));
    if (stranger !== undefined) {
      throw new HeadscopeError("input", `token id ${stranger} is outside the vocabulary`, {
        remedy: `ids go from 0 to ${size - 1}`,
      });
    }
    if (ids.length === 0) return "";
    const whole = tokenizer();
    const settings = { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false };
    const work = (): string => whole.decode([...ids], settings);
    return decodesByPattern ? inTime(ids.length, work, "these tokens") : work();
  }

  return {
    size,
    addsBos,
    chats: chatTemplate !== undefined,
    ...(bos === undefined ? {} : { bos }),
    ...(eos === undefined ? {} : { eos }),
    encode(input, { prependBos = addsBos } = {}) {
      const whole = tokenizer();
      const work = (): number[] => whole.encode(input, { add_special_tokens: false }).ids;
      const ids = inTime(input.length, work, "this text");
      if (!prependBos) return ids;
      if (bos === undefined) {
        throw new HeadscopeError("usage", "this model's tokenizer has no BOS token", { remedy: "leave BOS out" });
      }
      return [bos, ...ids];
    },
    decode,
    // Beside itself a token is no longer the first one, which may lose its space.
    token: (id) => (stripsFirst ? decode([id, id]).slice(decode([id]).length) : decode([id])),
    chat(messages, { addGenerationPrompt = false } = {}) {
      if (chatTemplate === undefined) {
        throw new HeadscopeError("unsupported", "this model has no chat template", { remedy: "give it plain text" });
      }
      return renderTemplate(chatTemplate, {
        messages,
        add_generation_prompt: addGenerationPrompt,
        bos_token: text(bos),
        eos_token: text(eos),
      });
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
export function built(make: () => HuggingFaceTokenizer): HuggingFaceTokenizer {
  return withinTime(BUILD_MS, make, () => tooSlow("takes too long to be built"));
}

function tooSlow(what: string): HeadscopeError {
  return new HeadscopeError("unsupported", `the model's tokenizer ${what}`, {
    remedy: "give token ids instead of text",
  });
}

/** A decoder of the package: those in a sequence, and the one that puts bytes together. */
interface ByteDecoder {
  decoders?: ByteDecoder[];
  text_decoder?: unknown;
}

/** A text that begins with a byte order mark keeps it: the package's decoder of single bytes would drop it. */
function keepingMarks(tokenizer: HuggingFaceTokenizer): HuggingFaceTokenizer {
  const mend = (decoder: ByteDecoder | null): void => {
    if (decoder?.text_decoder) decoder.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    decoder?.decoders?.forEach(mend);
  };
  mend((tokenizer as unknown as { decoder: ByteDecoder | null }).decoder);
  return tokenizer;
}
