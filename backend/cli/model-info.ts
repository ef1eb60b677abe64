import type { ModelConfig } from "../models/config.ts";
import { inspectModel } from "../models/load.ts";
import { type Manifest, pulledModel } from "../models/pull.ts";
import { parseReference } from "../models/reference.ts";
import { bytes, count, table } from "./format.ts";

/** What `headscope models info` prints. Sizes in bytes. */
export interface ModelInfo {
  readonly ref: string;
  readonly title?: string;
  readonly licence?: string;
  readonly path?: string;
  readonly source?: Manifest["source"];
  readonly family: string;
  readonly digest: string;
  readonly config: ModelConfig;
  /** What the model is made of, in words. */
  readonly features: readonly string[];
  readonly parameters: number;
  /** Types in which the checkpoint stores its weights, that of most bytes first. */
  readonly stored: readonly string[];
  /** Weights held in memory with --weights f32, q8 and bf16. */
  readonly bytes: { readonly f32: number; readonly q8: number; readonly bf16: number };
  /** The most that loading and a short forward need at once, the weights included. */
  readonly peakBytes: { readonly f32: number; readonly q8: number; readonly bf16: number };
  readonly tokenizer: { readonly bos?: number; readonly eos?: number; readonly addsBos: boolean } | null;
}

/** Describes a model from its header; no weights are read. */
export async function modelInfo(ref: string): Promise<ModelInfo> {
  const reference = parseReference(ref, "existing");
  const known = reference.kind === "catalogue" ? reference.model : undefined;
  const pulled = known ? pulledModel(ref) : undefined;
  const { ref: named, family, digest, config, memory, features, stored, tokenizer } = await inspectModel(reference);
  return {
    ref: named,
    ...(known ? { title: known.title, licence: known.licence } : {}),
    ...(pulled ? { path: pulled.path, source: pulled.manifest.source } : {}),
    family,
    digest,
    config,
    features,
    parameters: memory.parameters,
    stored,
    bytes: memory.weights,
    peakBytes: memory.peak,
    tokenizer: tokenizer
      ? {
          ...(tokenizer.bos === undefined ? {} : { bos: tokenizer.bos }),
          ...(tokenizer.eos === undefined ? {} : { eos: tokenizer.eos }),
          addsBos: tokenizer.addsBos,
        }
      : null,
  };
}

/** A model's description for people. */
export function infoText(info: ModelInfo): string {
  const { config, tokenizer } = info;
  const rows = [
    ["model", info.title === undefined ? info.ref : `${info.ref}: ${info.title}`],
    ["family", info.family],
    ...(info.licence === undefined ? [] : [["licence", info.licence]]),
    ...(info.source === undefined
      ? []
      : [["source", `${info.source.package} ${info.source.version}, ${info.source.file}`]]),
    ...(info.path === undefined ? [] : [["file", info.path]]),
    ["digest", info.digest],
    ["parameters", count(info.parameters)],
    ["stored as", info.stored.join(", ")],
    ["memory", sizes(info.bytes)],
    ["to load", sizes(info.peakBytes)],
    ["heads", `${config.n_layers} layers of ${config.n_heads} query heads and ${config.n_key_value_heads} KV heads`],
    ["widths", `d_model ${config.d_model}, d_head ${config.d_head}, d_mlp ${config.d_mlp}`],
    ["features", info.features.join(", ")],
    ["context", `${count(config.n_ctx)} tokens`],
    ["vocabulary", `${count(config.d_vocab)} ids`],
    [
      "tokenizer",
      tokenizer === null
        ? "none: give token ids"
        : `BOS ${tokenizer.bos ?? "none"}${tokenizer.addsBos ? " (added to texts)" : ""}, end ${tokenizer.eos ?? "none"}`,
    ],
  ];
  return table([{ head: "" }, { head: "" }], rows);
}

function sizes({ f32, q8, bf16 }: ModelInfo["bytes"]): string {
  return `${bytes(f32)} in f32, ${bytes(bf16)} with --weights bf16, ${bytes(q8)} with q8`;
}
