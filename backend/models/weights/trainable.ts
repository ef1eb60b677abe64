import type { Tensor } from "@tensorflow/tfjs";
import { Random } from "../../common/random.ts";
import { type ModelConfig, outputWidth } from "../config.ts";
import type { BlockWeights, NormWeights } from "./block-parts.ts";
import { Matrix } from "./matrix.ts";
import type { Weights } from "./weights.ts";

/** A trainable parameter and its place in the vector of all of them. */
export interface ParameterPlace {
  /** In the engine's terms: `blocks.0.qkv`, `ln_final.w`. */
  name: string;
  /** Matrices are [out, in]. */
  shape: readonly number[];
  /** First number in the vector. */
  offset: number;
  size: number;
  /** Standard deviation of the initial values around 0, or the value itself where all begin alike. */
  init: { normal: number } | { constant: number };
}

/**
 * The trainable parameters of a model, one after the other in one vector: a training step then updates two or three
 * long vectors instead of dozens of small tensors.
 * Initial values are normal with standard deviation `range` / sqrt(inputs), embeddings with `range` / sqrt(d_model), norms 1, biases 0.
 * @param range default 1
 */
export function parameterLayout(config: ModelConfig, range = 1): ParameterPlace[] {
  const { n_layers, n_heads: H, n_key_value_heads: G, d_head: D, d_model, d_mlp, normalization_type } = config;
  const places: ParameterPlace[] = [];
  let offset = 0;
  const place = (name: string, shape: number[], init: ParameterPlace["init"]): void => {
    const size = shape.reduce((a, b) => a * b, 1);
    places.push({ name, shape, offset, size, init });
    offset += size;
  };
  const matrix = (name: string, out: number, width: number): void =>
    place(name, [out, width], { normal: range / Math.sqrt(width) });
  const bias = (name: string, width: number): void => place(name, [width], { constant: 0 });
  const placement = config.norm_placement ?? "pre";
  const norm = (name: string, wanted = true): void => {
    if (normalization_type === null || !wanted) return;
    place(`${name}.w`, [d_model], { constant: 1 });
    if (normalization_type === "LN") bias(`${name}.b`, d_model);
  };
  if (config.d_input) {
    matrix("embed", d_model, config.d_input);
    bias("embedBias", d_model);
  } else place("embed", [config.d_vocab, d_model], { normal: range / Math.sqrt(d_model) });
  if (config.positional_embedding_type === "standard")
    place("posEmbed", [config.n_ctx, d_model], { normal: range / Math.sqrt(d_model) });
  for (let l = 0; l < n_layers; l++) {
    const block = `blocks.${l}`;
    norm(`${block}.ln1`, placement !== "post");
    matrix(`${block}.qkv`, (H + 2 * G) * D, d_model);
    const widths = { qNorm: H * D, kNorm: G * D };
    for (const [name, all] of config.qk_norm ? Object.entries(widths) : [])
      place(`${block}.${name}`, [config.qk_norm === "all" ? all : D], { constant: 1 });
    matrix(`${block}.o`, d_model, H * D);
    norm(`${block}.ln1Post`, placement !== "pre");
    if (config.attn_only) continue;
    norm(`${block}.ln2`, placement !== "post");
    const hidden = config.gated_mlp ? 2 * d_mlp : d_mlp;
    matrix(`${block}.mlpIn`, hidden, d_model);
    if (!config.gated_mlp) bias(`${block}.mlpInBias`, hidden);
    matrix(`${block}.mlpOut`, d_model, d_mlp);
    if (!config.gated_mlp) bias(`${block}.mlpOutBias`, d_model);
    norm(`${block}.ln2Post`, placement !== "pre");
  }
  if (config.final_norm) norm("lnFinal");
  let width = d_model;
  (config.readout_hidden ?? []).forEach((out, i) => {
    matrix(`readout.${i}.weight`, out, width);
    bias(`readout.${i}.bias`, out);
    width = out;
  });
  if (!config.tie_word_embeddings) matrix("unembed", outputWidth(config), width);
  if (config.readout_hidden?.length || config.d_input) bias("unembedBias", outputWidth(config));
  return places;
}

/** How many trainable parameters a layout has. */
export function parameterCount(places: readonly ParameterPlace[]): number {
  const last = places.at(-1)!;
  return last.offset + last.size;
}

/** `parameterCount` of a config's layout, which is not made: a config can be asked for its size before it is believed. */
export function parametersOf(config: ModelConfig): number {
  const [none, one] = [0, 1].map((n_layers) => parameterCount(parameterLayout({ ...config, n_layers }))) as [
    number,
    number,
  ];
  return none + config.n_layers * (one - none);
}

/** The values that training begins with [parameters]; the seed alone decides them. */
export function initialParameters(places: readonly ParameterPlace[], seed: number): Float32Array {
  const values = new Float32Array(parameterCount(places));
  places.forEach(({ offset, size, init }, i) => {
    if ("constant" in init) {
      values.fill(init.constant, offset, offset + size);
      return;
    }
    const random = new Random(seed, INITIAL_STREAM + i);
    for (let j = offset; j < offset + size; j++) values[j] = init.normal * random.normal();
  });
  return values;
}

/** Streams of a run's seed from which initial values come; steps have the streams from 0 on. */
const INITIAL_STREAM = 0xe0000000;

/**
 * A model's weights over the parameters of a layout.
 * @param value the tensor of a place, in its shape
 */
export function weightsOver(
  config: ModelConfig,
  places: readonly ParameterPlace[],
  value: (place: ParameterPlace) => Tensor,
): Weights {
  const tensors = new Map(places.map((place) => [place.name, value(place)]));
  const tensor = (name: string): Tensor => tensors.get(name)!;
  const matrix = (name: string): Matrix => Matrix.dense(tensor(name));
  /** A property where there is a parameter for it. */
  const maybe = <K extends string, V>(key: K, name: string, make: (name: string) => V): { [P in K]?: V } =>
    (tensors.has(name) ? { [key]: make(name) } : {}) as { [P in K]?: V };
  const norm = (name: string): NormWeights => ({ w: tensor(`${name}.w`), ...maybe("b", `${name}.b`, tensor) });
  const maybeNorm = <K extends string>(key: K, name: string) => maybe(key, `${name}.w`, () => norm(name));
  const blocks = Array.from({ length: config.n_layers }, (_, l): BlockWeights => {
    const block = `blocks.${l}`;
    return {
      ...maybeNorm("ln1", `${block}.ln1`),
      ...maybeNorm("ln1Post", `${block}.ln1Post`),
      qkv: matrix(`${block}.qkv`),
      ...maybe("qNorm", `${block}.qNorm`, tensor),
      ...maybe("kNorm", `${block}.kNorm`, tensor),
      o: matrix(`${block}.o`),
      ...maybeNorm("ln2", `${block}.ln2`),
      ...maybeNorm("ln2Post", `${block}.ln2Post`),
      ...maybe("mlpIn", `${block}.mlpIn`, matrix),
      ...maybe("mlpInBias", `${block}.mlpInBias`, tensor),
      ...maybe("mlpOut", `${block}.mlpOut`, matrix),
      ...maybe("mlpOutBias", `${block}.mlpOutBias`, tensor),
    };
  });
  const embed = matrix("embed");
  const readout = (config.readout_hidden ?? []).map((_, i) => ({
    weight: matrix(`readout.${i}.weight`),
    bias: tensor(`readout.${i}.bias`),
  }));
  return {
    embed,
    ...maybe("embedBias", "embedBias", tensor),
    ...maybe("posEmbed", "posEmbed", matrix),
    blocks,
    ...maybeNorm("lnFinal", "lnFinal"),
    ...(readout.length > 0 ? { readout } : {}),
    unembed: config.tie_word_embeddings ? embed : matrix("unembed"),
    ...maybe("unembedBias", "unembedBias", tensor),
  };
}
