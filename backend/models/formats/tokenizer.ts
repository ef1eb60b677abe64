import { Template } from "@huggingface/jinja";
import type { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
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
   * Text of token ids; bytes that are no UTF-8 become U+FFFD. Ids that the tokenizer does not have are nothing: a model's
   * vocabulary may be padded beyond its tokenizer's.
   * @param options.skipSpecial leave out special tokens, default false
   */
  decode(ids: readonly number[], options?: { skipSpecial?: boolean }): string;
  /** Text of one token as it stands in a text: " France", not "ĠFrance"; "[395]" for an id that the tokenizer does not have. */
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

/** What is known of a tokenizer beside its pipeline. */
export interface Settings {
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly addsBos: boolean;
  readonly chatTemplate: string | undefined;
  /** Whether its decoder takes the space from before the first token of a text. */
  readonly stripsFirst: boolean;
}

/**
 * A tokenizer over the package's.
 * @param make called at the first use: a vocabulary of 50,000 takes some 0.3 s, and much work is on ids alone
 * @param size number of tokens
 */
export function buildTokenizer(make: () => HuggingFaceTokenizer, size: number, settings: Settings): Tokenizer {
  const { bos, eos, addsBos, chatTemplate, stripsFirst } = settings;
  let made: HuggingFaceTokenizer | undefined;
  const tokenizer = () => {
    made ??= keepingMarks(make());
    return made;
  };
  const text = (id: number | undefined) => (id === undefined ? "" : (tokenizer().id_to_token(id) ?? ""));
  const known = (id: number) => Number.isInteger(id) && tokenizer().id_to_token(id) !== undefined;
  let template: Template | undefined;

  function decode(ids: readonly number[], { skipSpecial = false }: { skipSpecial?: boolean } = {}): string {
    const own = ids.filter(known);
    if (own.length === 0) return "";
    return tokenizer().decode(own, { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false });
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
    // Beside itself a token is no longer the first one, which may lose its space.
    token: (id) => {
      if (!known(id)) return `[${id}]`;
      return stripsFirst ? decode([id, id]).slice(decode([id]).length) : decode([id]);
    },
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
