import type { Tensor } from "@tensorflow/tfjs";
import { unknownName } from "../../common/errors.ts";
import { tf } from "../../runtime/tf.ts";
import { configOf, headShape, type ModelConfig } from "../config.ts";
import { partTensors, type Slot, slotsOf, type Weights } from "./weights.ts";

/** Rows of a part, from `first` (default 0) on, laid out along `axes` and turned into `order`. */
interface Cut {
  readonly first?: number | undefined;
  readonly axes: readonly number[];
  readonly order?: readonly number[];
}

/** A parameter of TransformerLens that is not one of the engine's parts under the same name. */
interface Slice {
  /** Behind the prefix of its block or readout layer. */
  readonly name: string;
  readonly part: string;
  /** Default the whole part as it is. */
  cut?(config: ModelConfig, shape: readonly number[], layer: number): Cut | undefined;
  /** Tells whether TransformerLens has it; default where the model has the part. */
  has?(config: ModelConfig): boolean;
}

const always = (): boolean => true;
const hasMlp = ({ attn_only }: ModelConfig): boolean => !attn_only;
const inOut = (_: ModelConfig, axes: readonly number[]): Cut => ({ axes, order: [1, 0] });
/** Rows of a layer's projection. */
type Rows = (config: ModelConfig, layer: number) => Cut;
const queries = (c: ModelConfig, layer: number) => ({ first: 0, axes: [c.n_heads, headShape(c, layer).keyWidth] });
const keys = (c: ModelConfig, layer: number) => {
  const { queries, keys, keyWidth } = headShape(c, layer);
  return { first: queries * keyWidth, axes: [keys, keyWidth] };
};
const values = (c: ModelConfig, layer: number) => {
  const { queries, keys, values, keyWidth, valueWidth } = headShape(c, layer);
  return { first: (queries + keys) * keyWidth, axes: [values, valueWidth] };
};
const gate = (c: ModelConfig) => ({ first: 0, axes: [c.d_mlp] });
const linear = (c: ModelConfig) => ({ first: c.gated_mlp ? c.d_mlp : 0, axes: [c.d_mlp] });
/** Columns [d_model] of rows, turned to the front of their innermost axis: [heads, d_model, d_head], [d_model, d_mlp]. */
const fromModel =
  (rows: Rows) =>
  (c: ModelConfig, _: readonly number[], layer: number): Cut => {
    const { first, axes } = rows(c, layer);
    return { first, axes: [...axes, c.d_model], order: axes.length === 1 ? [1, 0] : [0, 2, 1] };
  };

/** TransformerLens's names, those of a module together: they stand where its first part stands among the parts. */
const SLICES: readonly Slice[] = [
  { name: "embed.W_E", part: "embed", cut: (c, axes) => (c.d_input ? inOut(c, axes) : undefined) },
  { name: "embed.b_E", part: "embed_bias" },
  { name: "pos_embed.W_pos", part: "pos_embed" },
  { name: "attn.W_Q", part: "attn.qkv", cut: fromModel(queries) },
  { name: "attn.W_K", part: "attn.qkv", cut: fromModel(keys) },
  { name: "attn.W_V", part: "attn.qkv", cut: fromModel(values) },
  {
    name: "attn.W_O",
    part: "attn.o",
    cut: (c) => ({ axes: [c.d_model, c.n_heads, headShape(c).valueWidth], order: [1, 2, 0] }),
  },
  { name: "attn.b_Q", part: "attn.qkv_bias", cut: (c, _, l) => queries(c, l), has: always },
  { name: "attn.b_K", part: "attn.qkv_bias", cut: (c, _, l) => keys(c, l), has: always },
  { name: "attn.b_V", part: "attn.qkv_bias", cut: (c, _, l) => values(c, l), has: always },
  { name: "attn.b_O", part: "attn.o_bias", has: always },
  { name: "mlp.W_gate", part: "mlp.in", cut: fromModel(gate), has: (c) => hasMlp(c) && c.gated_mlp },
  { name: "mlp.W_in", part: "mlp.in", cut: fromModel(linear) },
  { name: "mlp.W_out", part: "mlp.out", cut: inOut },
  { name: "mlp.b_in", part: "mlp.in_bias", cut: linear, has: hasMlp },
  { name: "mlp.b_out", part: "mlp.out_bias", has: hasMlp },
  { name: "W", part: "weight", cut: inOut },
  { name: "b", part: "bias" },
  { name: "unembed.W_U", part: "unembed", cut: inOut, has: always },
  { name: "unembed.b_U", part: "unembed_bias", has: always },
  { name: "soft_prompt.W_P", part: "soft_prompt" },
];

const moduleOf = (name: string): string => name.split(".", 1)[0]!;

/** The parameters of a config by name. A part without a slice stands under its own name as it is. */
function viewOf(config: ModelConfig): Map<string, { slot: Slot; cut: Cut | undefined }> {
  const slots = new Map(slotsOf(config).map((slot) => [slot.name, slot]));
  const view = new Map<string, { slot: Slot; cut: Cut | undefined }>();
  for (const { part, prefix } of slots.values()) {
    const first = SLICES.find((slice) => slice.part === part);
    const slices = first && SLICES.filter(({ name }) => moduleOf(name) === moduleOf(first.name));
    for (const { name, part: source, cut, has } of slices ?? [{ name: part, part } as Slice]) {
      const slot = slots.get(prefix + source)!;
      if (has ? has(config) : slot.has) view.set(prefix + name, { slot, cut: cut?.(config, slot.shape, slot.index) });
    }
  }
  return view;
}

/** Names of a model's parameters as TransformerLens has them. @param model or its config */
export function parameterNames(model: ModelConfig | { readonly config: ModelConfig }): string[] {
  return [...viewOf(configOf(model)).keys()];
}

/** Shapes of the parameters of a config by their names, in the order of `parameterNames`. */
export function parameterShapes(config: ModelConfig): Map<string, number[]> {
  return new Map(
    [...viewOf(config)].map(([name, { slot, cut }]) => {
      const axes = cut?.axes ?? slot.shape;
      return [name, cut?.order?.map((axis) => axes[axis]!) ?? [...axes]];
    }),
  );
}

/**
 * A parameter in TransformerLens's shape, as a new tensor that the caller disposes: W_Q [heads, d_model, d_head],
 * W_K and W_V [kv heads, d_model, d_head], W_O [heads, d_head, d_model], MLP matrices [in, out], W_E [d_vocab, d_model],
 * W_U [d_model, outputs]. Biases that the model lacks are zeros. Of a model that reads vectors W_E is [d_input, d_model];
 * readout layers are readout.{i}.W [in, out] and .b.
 * @throws HeadscopeError (usage) for a name that the model does not have
 */
export function parameter(model: { config: ModelConfig; weights: Weights }, name: string): Tensor {
  const view = viewOf(model.config);
  const slice = view.get(name);
  if (!slice) throw unknownName("parameter", name, [...view.keys()]);
  const { slot, cut } = slice;
  return tf.tidy(() => {
    const whole = wholePart(model.weights, slot);
    if (!cut) return tf.clone(whole);
    const { first = 0, axes, order } = cut;
    const start = first * tf.util.sizeFromShape(slot.shape.slice(1));
    const rows = tf.slice(tf.reshape(whole, [-1]), start, tf.util.sizeFromShape([...axes]));
    const stretch = tf.reshape(rows, [...axes]);
    return order ? tf.transpose(stretch, [...order]) : stretch;
  });
}

/** A part in float32; what the model lacks is the value that changes nothing. */
function wholePart(weights: Weights, { name, shape, initial }: Slot): Tensor {
  const tensor = partTensors(weights).get(name) ?? (name === "unembed" ? weights.embed : undefined);
  if (!tensor) return tf.fill([...shape], initial);
  return "widen" in tensor ? tensor.widen() : tensor;
}
