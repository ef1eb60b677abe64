import { HeadscopeError } from "../../common/errors.ts";
import type { Checkpoint } from "./checkpoint.ts";

/** Facts about an opened checkpoint before anything in it is checked. */
interface Evidence {
  readonly format: Checkpoint["format"];
  readonly tensors: readonly string[];
  /** The parsed config.json; {} without one. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Strings of a safetensors file, or the key-value pairs of a GGUF file. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** Something that is given for a model's checkpoint and is none, or none that runs as it is. */
interface Signature {
  /** Completes "FILE is …". */
  readonly what: string;
  readonly remedy: string;
  /** @param start of the file as text: its first bytes, one character each */
  readonly inFile?: (start: string) => boolean;
  readonly inCheckpoint?: (evidence: Evidence) => boolean;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const some = (pattern: RegExp) => (evidence: Evidence) => evidence.tensors.some((name) => pattern.test(name));
const every = (pattern: RegExp) => (evidence: Evidence) =>
  evidence.tensors.length > 0 && evidence.tensors.every((name) => pattern.test(name));
/** Heads that score labels, and the layers of a decoder that such a head may stand on; encoders name theirs otherwise. */
const LABELS = /^(score|classifier|qa_outputs|cls)\./;
const DECODER = /(^|\.)(layers|h|blk)\.\d+\./;
const LANGUAGE_HEAD = /^(lm_head|embed_out|output)\.weight$/;
const save = (change: string) =>
  `in Python: from safetensors.torch import load_file, save_file; save_file({${change}: tensor for name, tensor in ` +
  `load_file("model.safetensors").items()}, "plain.safetensors", {"format": "pt"})`;
const unwrap = (prefix: string) => `save it without "${prefix}", ${save(`name.replace("${prefix}", "")`)}`;

/** Fields of a config.json that are one number for all layers in every family that headscope knows. */
const FOR_ALL_LAYERS = [
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "intermediate_size",
  "ffn_dim",
  "n_head",
  "n_inner",
];

/** Tells whether a GGUF value is a list of numbers, one a layer, that differ. */
function differsByLayer(value: unknown, layers: unknown): boolean {
  if (!ArrayBuffer.isView(value)) return false;
  const entries = [...(value as unknown as Iterable<unknown>)];
  return entries.length === layers && entries.some((entry) => entry !== entries[0]);
}

const ADAPTER: Signature = {
  what: "a LoRA adapter, which is a change to a model and no model",
  remedy:
    "merge it into its base model with peft, PeftModel.from_pretrained(base, adapter).merge_and_unload()" +
    ".save_pretrained(folder), and load that folder",
  inCheckpoint: ({ tensors, metadata }) =>
    metadata["general.type"] === "adapter" ||
    tensors.some((name) => /(^|\.)(lora_|ia3_|prompt_embeddings)|\.lora_[ab]$/.test(name)),
};

/** One row for each foreign thing, the more particular first. Adding one touches this list and its test. */
const SIGNATURES: readonly Signature[] = [
  {
    what: "a git-lfs pointer: the file that it stands for was not fetched",
    remedy: "run `git lfs pull` in the clone, or fetch the model with `headscope models pull hf:ORG/NAME`",
    inFile: (start) => start.startsWith("version https://git-lfs.github.com/"),
  },
  {
    what: "a web page: something answered with a page where the file was asked for",
    remedy: "fetch the file itself; a gated model needs that you are signed in and have accepted its terms",
    inFile: (start) => /^(\u00ef\u00bb\u00bf)?\s*<(!doctype|html|head|\?xml|!--)/i.test(start),
  },
  ADAPTER,
  {
    what: "quantised by MLX, whose packed weights headscope does not read",
    remedy: "take the model's original weights or a GGUF file, or turn it back with `mlx_lm.convert --dequantize`",
    inCheckpoint: ({ config, tensors, metadata }) =>
      isObject(config["quantization"]) ||
      (metadata["format"] === "mlx" && tensors.some((name) => name.endsWith(".scales"))),
  },
  {
    what: "a language model with a second head, such as the value head that TRL trains",
    remedy:
      "take the language model out of it with transformers, AutoModelForCausalLM.from_pretrained(folder)" +
      ".save_pretrained(other), and load that folder",
    inCheckpoint: (evidence) =>
      some(/^(v_head|value_head|multiple_choice_head)\./)(evidence) ||
      [LABELS, DECODER, LANGUAGE_HEAD].every((pattern) => some(pattern)(evidence)),
  },
  {
    what: "a classifier: its head scores labels, and none gives logits over the vocabulary",
    remedy: "take the language model that it was trained from",
    inCheckpoint: (evidence) => some(LABELS)(evidence) && some(DECODER)(evidence),
  },
  {
    what: "the state of a compiled module: its tensors are named after torch.compile's wrapper",
    remedy: unwrap("_orig_mod."),
    inCheckpoint: some(/(^|\.)_orig_mod\./),
  },
  {
    what: "the state of a module that is sharded by FSDP: its tensors are named after the wrapper",
    remedy: unwrap("_fsdp_wrapped_module."),
    inCheckpoint: some(/(^|\.)_fsdp_wrapped_module\./),
  },
  {
    what: "the state of a module inside a wrapper such as DataParallel: its tensors are named module.…",
    remedy: unwrap("module."),
    inCheckpoint: every(/^module\./),
  },
  {
    what: "the state of a model inside peft's wrapper: its tensors are named base_model.model.…",
    remedy: `save the model itself with peft's merge_and_unload(), or ${unwrap("base_model.model.")}`,
    inCheckpoint: every(/^base_model\.model\./),
  },
  {
    what: "the state of a model inside another module: its tensors' names begin with that module's",
    remedy: `where PREFIX is what stands in front of the model's own names, ${unwrap("PREFIX.")}`,
    inCheckpoint: some(
      /^.+\.((model|gpt_neox|model\.decoder)\.layers|transformer\.h)\.\d+\.|^(model\.)?language_model\.layers\.\d+\./,
    ),
  },
  {
    what: "a GGUF file with the rotation longrope, whose factors change with the length of a text",
    remedy: "take the model's variant for short contexts, which has no such factors (of Phi-3, the 4k one)",
    inCheckpoint: some(/^rope_factors_(long|short)\.weight$/),
  },
  {
    what: "a model whose layers differ in their numbers of heads or widths",
    remedy: "take a model whose layers are alike: headscope has one shape for all of them",
    inCheckpoint: ({ format, config, metadata }) => {
      if (format === "safetensors") return FOR_ALL_LAYERS.some((field) => Array.isArray(config[field]));
      const architecture = metadata["general.architecture"];
      if (typeof architecture !== "string") return false;
      const layers = metadata[`${architecture}.block_count`];
      return ["attention.head_count", "attention.head_count_kv", "feed_forward_length"].some((key) =>
        differsByLayer(metadata[`${architecture}.${key}`], layers),
      );
    },
  },
];

function refused(path: string, { what, remedy }: Signature): HeadscopeError {
  return new HeadscopeError("unsupported", `${path} is ${what}`, { remedy });
}

/** Bytes of a file's start that tell what it is. */
export const SIGNATURE_BYTES = 256;

/**
 * Recognises a file that stands in a model file's place, such as a git-lfs pointer.
 * @param start its first bytes
 * @returns the error to end in, with its own remedy; undefined for anything else
 */
export function foreignFile(path: string, start: Uint8Array): HeadscopeError | undefined {
  const text = Buffer.from(start.subarray(0, SIGNATURE_BYTES)).toString("latin1");
  const signature = SIGNATURES.find(({ inFile }) => inFile?.(text));
  return signature && refused(path, signature);
}

/**
 * Refuses a checkpoint that is no model, or one in another tool's form, before its tensors are held against its config: those
 * checks would find the disagreement and not the cause.
 * @throws HeadscopeError "unsupported", with a remedy for what it is
 */
export function refuseForeign({ path, format, metadata, tensors }: Checkpoint): void {
  const evidence: Evidence = {
    format,
    tensors: [...tensors.keys()],
    config: isObject(metadata["config"]) ? metadata["config"] : {},
    metadata: format === "gguf" ? metadata : ((metadata["safetensors"] ?? {}) as Record<string, unknown>),
  };
  const signature = SIGNATURES.find(({ inCheckpoint }) => inCheckpoint?.(evidence));
  if (signature) throw refused(path, signature);
}

/** The error for a folder that holds an adapter's settings and no model. */
export function adapterFolder(path: string): HeadscopeError {
  return refused(path, ADAPTER);
}
