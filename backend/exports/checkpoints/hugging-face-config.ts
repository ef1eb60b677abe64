import { isDeepStrictEqual } from "node:util";
import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../../models/config.ts";
import { type Family, sideOf } from "../../models/families/family.ts";
import type { PartTensor } from "../../models/families/inverse.ts";
import type { Checkpoint } from "../../models/formats/checkpoint.ts";
import type { Model } from "../../models/model.ts";

/** Ids of special tokens, which a GGUF file keeps with its tokenizer. */
const SPECIAL = { bos_token_id: "bos", eos_token_id: "eos", pad_token_id: "padding" } as const;

/**
 * The config.json of a model in float32, from that of its checkpoint or from its GGUF metadata.
 * @param tensors what model.safetensors will hold
 * @throws HeadscopeError "unsupported" when the family would not read the model's own config out of it
 */
export function huggingFaceConfig(
  model: Model,
  family: Family,
  checkpoint: Checkpoint,
  tensors: readonly PartTensor[],
): Record<string, unknown> {
  const { torch_dtype, dtype: _, ...source } = sideOf(family, checkpoint.format)!.configJson(checkpoint);
  const [architecture, type] = family.huggingFace.architectures;
  const config = {
    architectures: [architecture],
    model_type: type,
    ...(checkpoint.format === "gguf" ? specialTokens(checkpoint) : {}),
    ...olderRotation(source),
    ...source,
    tie_word_embeddings: model.config.tie_word_embeddings,
    [torch_dtype === undefined && checkpoint.format !== "gguf" ? "dtype" : "torch_dtype"]: "float32",
  };
  checkReading(model, family, config, tensors);
  return config;
}

/**
 * The rotation as transformers 4 reads it, where config.json has it as transformers 5 writes it (`rope_parameters`): both
 * are in the folder, so that either version computes the same model.
 */
function olderRotation({ rope_parameters }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const rotation = rope_parameters as Readonly<Record<string, unknown>> | null | undefined;
  if (rotation == null) return {};
  const local = rotation["sliding_attention"] as Readonly<Record<string, unknown>> | undefined;
  const global = (rotation["full_attention"] as Readonly<Record<string, unknown>> | undefined) ?? rotation;
  const { rope_theta: base, partial_rotary_factor: share, ...scaling } = global;
  return {
    ...(base === undefined ? {} : { rope_theta: base, rotary_emb_base: base }),
    ...(share === undefined ? {} : { partial_rotary_factor: share, rotary_pct: share }),
    ...((scaling["rope_type"] ?? "default") === "default" ? {} : { rope_scaling: scaling }),
    ...(local === undefined ? {} : { rope_local_base_freq: local["rope_theta"] }),
  };
}

function specialTokens({ metadata }: Checkpoint): Record<string, unknown> {
  const id = (name: string) => metadata[`tokenizer.ggml.${name}_token_id`] ?? null;
  return Object.fromEntries(Object.entries(SPECIAL).map(([field, name]) => [field, id(name)]));
}

/** Refuses a config.json that the family would read as another model: processed weights, say, need fields that it lacks. */
function checkReading(model: Model, family: Family, config: object, tensors: readonly PartTensor[]): void {
  const written = family.huggingFace.config({
    path: `the config.json of ${model.ref}`,
    metadata: { config },
    tensors: new Map(tensors.map(({ name, shape }) => [name, { name, shape, type: "F32", bytes: 0 }])),
  } as unknown as Checkpoint);
  const fields = [...new Set([...Object.keys(written), ...Object.keys(model.config)])] as (keyof ModelConfig)[];
  const differs = fields.find((field) => !isDeepStrictEqual(written[field], model.config[field]));
  if (differs === undefined) return;
  const [read, actual] = [written[differs], model.config[differs]].map((value) => JSON.stringify(value) ?? "nothing");
  throw new HeadscopeError(
    "unsupported",
    `${family.name}'s config.json can't describe ${model.ref}: ${differs} would be ${read}, and it is ${actual}`,
    { remedy: "load it without weight processing, or export it for TransformerLens: --format transformer-lens" },
  );
}
