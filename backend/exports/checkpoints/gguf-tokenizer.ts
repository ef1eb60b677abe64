import { HeadscopeError } from "../../common/errors.ts";
import { describeGgufTokenizer } from "../../models/tokenizers/files/gguf.ts";

type Metadata = Readonly<Record<string, unknown>>;

/** A tokenizer's two files in a Hugging Face folder. */
export interface TokenizerFiles {
  /** tokenizer.json */
  readonly json: object;
  /** tokenizer_config.json */
  readonly config: object;
}

/**
 * The tokenizer of a GGUF file as a Hugging Face folder keeps it.
 * @param metadata the file's key-value pairs
 * @returns undefined where it has none, or one of a kind that headscope does not read
 * @throws HeadscopeError "corrupt" for a damaged one
 */
export function tokenizerFilesOf(metadata: Metadata): TokenizerFiles | undefined {
  if (metadata["tokenizer.ggml.model"] === undefined) return undefined;
  let description: ReturnType<typeof describeGgufTokenizer>;
  try {
    description = describeGgufTokenizer(metadata);
  } catch (error) {
    if (error instanceof HeadscopeError && error.kind === "unsupported") return undefined;
    throw error;
  }
  const { steps, written, settings } = description;
  const { bos_token: bos, eos_token, pad_token, unk_token } = settings.specialTokens;
  const addsBos = bos !== undefined && settings.front.length > 0;
  const special = { bos_token: bos, eos_token, pad_token, unk_token };
  return {
    json: {
      version: "1.0",
      truncation: null,
      padding: null,
      ...steps,
      post_processor: addsBos ? bosFirst(bos, settings.bos!) : null,
      model: written(),
    },
    config: {
      tokenizer_class: "PreTrainedTokenizerFast",
      add_bos_token: addsBos,
      clean_up_tokenization_spaces: false,
      ...Object.fromEntries(Object.entries(special).filter(([, token]) => token !== undefined)),
      ...(settings.chatTemplate === undefined ? {} : { chat_template: settings.chatTemplate }),
    },
  };
}

/** The post-processor that puts BOS before a text, and before each of a pair. */
function bosFirst(token: string, id: number): object {
  const [special, sequence] = [
    (type_id: number) => ({ SpecialToken: { id: token, type_id } }),
    (name: string, type_id: number) => ({ Sequence: { id: name, type_id } }),
  ];
  return {
    type: "TemplateProcessing",
    single: [special(0), sequence("A", 0)],
    pair: [special(0), sequence("A", 0), special(1), sequence("B", 1)],
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}
