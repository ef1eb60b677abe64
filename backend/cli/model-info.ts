import { CATALOGUE } from "../models/catalogue.ts";
import type { ModelConfig } from "../models/config.ts";
import { Matrix } from "../models/matrix.ts";
import { type Manifest, pulledModel } from "../models/pull.ts";
import type { Weights } from "../models/weights.ts";
import type { Context } from "./context.ts";
import { bytes, count, table } from "./format.ts";
import { withModel } from "./model.ts";

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
  readonly parameters: number;
  /** Held in memory with --weights f32, and with q8. */
  readonly bytes: { readonly f32: number; readonly q8: number };
  readonly tokenizer: { readonly bos?: number; readonly eos?: number; readonly addsBos: boolean } | null;
}

/** Loads a model (in 8 bits where it can) and describes it. */
export function modelInfo(context: Context, ref: string): Promise<ModelInfo> {
  const known = Object.hasOwn(CATALOGUE, ref) ? CATALOGUE[ref] : undefined;
  const pulled = known ? pulledModel(ref) : undefined;
  return withModel(context, { model: ref, weights: "q8" }, async (model) => {
    const { family, digest, config, tokenizer } = model;
    const parameters = countParameters(model.weights);
    return {
      ref: model.ref,
      ...(known ? { title: known.title, licence: known.licence } : {}),
      ...(pulled ? { path: pulled.path, source: pulled.manifest.source } : {}),
      family,
      digest,
      config,
      parameters,
      bytes: { f32: 4 * parameters, q8: model.bytes },
      tokenizer: tokenizer
        ? {
            ...(tokenizer.bos === undefined ? {} : { bos: tokenizer.bos }),
            ...(tokenizer.eos === undefined ? {} : { eos: tokenizer.eos }),
            addsBos: tokenizer.addsBos,
          }
        : null,
    };
  });
}

/** Numbers of a model, tied ones once. */
function countParameters({ blocks, unembed, readout = [], ...outer }: Weights): number {
  const rest = unembed === outer.embed ? outer : { ...outer, unembed };
  const leaves = [rest, ...blocks, ...readout].flatMap((group) =>
    Object.values(group).filter((leaf) => leaf !== undefined),
  );
  return leaves.reduce((sum, leaf) => {
    if (leaf instanceof Matrix) return sum + leaf.shape[0] * leaf.shape[1];
    return sum + ("w" in leaf ? leaf.w.size + (leaf.b?.size ?? 0) : leaf.size);
  }, 0);
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
    ["memory", `${bytes(info.bytes.f32)} in f32, ${bytes(info.bytes.q8)} with --weights q8`],
    ["heads", `${config.n_layers} layers of ${config.n_heads} query heads and ${config.n_key_value_heads} KV heads`],
    ["widths", `d_model ${config.d_model}, d_head ${config.d_head}, d_mlp ${config.d_mlp}`],
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
