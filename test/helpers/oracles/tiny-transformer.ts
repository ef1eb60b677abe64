import type { ModelConfig } from "../../../backend/models/config.ts";
import { modelOfParameters } from "../../../backend/models/sources/run-checkpoint.ts";
import { parameter } from "../../../backend/models/weights/parameters.ts";
import { parameterCount, parameterLayout } from "../../../backend/models/weights/trainable.ts";
import type { Batch, TaskShape } from "../../../backend/training/task.ts";

/** A parameter of the oracle, and its number in the formula of initial values. */
export interface OracleParameter {
  name: string;
  index: number;
  shape: number[];
}

/** The transformer of test/oracles/optimisers.py: see its docstring. */
const [V, D, H, E, T] = [11, 8, 2, 4, 6];
export const TINY_CONFIG: ModelConfig = {
  n_layers: 1, n_heads: H, n_key_value_heads: H, d_model: D, d_head: E, d_mlp: 32, n_ctx: T, d_vocab: V,
  act_fn: "relu", gated_mlp: false, attn_only: true, normalization_type: "LN", eps: 1e-5, final_norm: true,
  positional_embedding_type: "standard", rotary_base: 10000, rotary_dim: E, tie_word_embeddings: false, attn_scale: 0.5,
}; // biome-ignore format: a table

/** The shape of its task. */
export const TINY_SHAPE: TaskShape = {
  input: { kind: "tokens", vocabulary: V },
  output: { kind: "classes", count: V },
  positions: T,
  scored: "all",
};

/** Float32 numbers as the oracles pack them. */
export function unpacked(text: string): Float32Array {
  const bytes = Buffer.from(text, "base64");
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

/** The oracle's batch of a step: 3 rows of 6 tokens. */
export function tinyBatch(step: number): Batch {
  const token = (r: number, p: number) => (3 * step + 5 * r + 2 * p * p + p * r) % V;
  const cells = Array.from({ length: 3 * T }, (_, i) => [Math.floor(i / T), i % T] as const);
  return {
    rows: 3,
    tokens: Int32Array.from(cells, ([r, p]) => token(r, p)),
    classes: Int32Array.from(cells, ([r, p]) => token(r, p + 1)),
    weights: new Float32Array(3 * T).fill(1),
  };
}

/** The oracle's initial parameters as our vector: matrices transposed, heads of queries, keys and values one after the other. */
export function tinyParameters(config: ModelConfig, parameters: readonly OracleParameter[]): Float32Array {
  const initial = (name: string, i: number): number => {
    const u = Math.sin(0.37 * (i + 1) ** 2 + parameters.find((p) => p.name === name)!.index);
    if (name.endsWith(".w")) return 1 + 0.1 * u;
    if (name.endsWith(".b")) return 0.1 * u;
    return name.endsWith("W_E") || name.endsWith("W_pos") ? u : 0.7 * u;
  };
  const attention = (row: number, m: number): number => {
    const [which, head, e] = [Math.floor(row / (H * E)), Math.floor(row / E) % H, row % E];
    return initial(`blocks.0.attn.W_${"QKV"[which]}`, (head * D + m) * E + e);
  };
  const element: Record<string, (i: number) => number> = {
    embed: (i) => initial("embed.W_E", i),
    soft_prompt: (i) => initial("soft_prompt.W_P", i),
    pos_embed: (i) => initial("pos_embed.W_pos", i),
    "blocks.0.attn.qkv": (i) => attention(Math.floor(i / D), i % D),
    "blocks.0.attn.o": (i) => initial("blocks.0.attn.W_O", (i % (H * E)) * D + Math.floor(i / (H * E))),
    unembed: (i) => initial("unembed.W_U", (i % D) * V + Math.floor(i / D)),
  };
  const places = parameterLayout(config);
  const vector = new Float32Array(parameterCount(places));
  for (const { name, offset, size } of places) {
    const value = element[name] ?? ((i: number) => initial(name, i));
    for (let i = 0; i < size; i++) vector[offset + i] = value(i);
  }
  return vector;
}

/** Our vector in the oracle's order, by the view that users have of parameters. */
export function inOracleOrder(
  vector: Float32Array,
  config: ModelConfig,
  parameters: readonly OracleParameter[],
): Float32Array {
  const model = modelOfParameters("x", config, vector);
  const parts = parameters.map(({ name }) => {
    const tensor = parameter(model, name);
    const values = tensor.dataSync() as Float32Array;
    tensor.dispose();
    return values;
  });
  model.dispose();
  return Float32Array.from(parts.flatMap((part) => [...part]));
}

/** An oracle's initial parameters as our vector, whatever their shapes: each of our numbers goes where its place in the oracle's order says. */
export function oracleStart(config: ModelConfig, parameters: readonly OracleParameter[]): Float32Array {
  const places = Float32Array.from({ length: parameterCount(parameterLayout(config)) }, (_, i) => i);
  const order = inOracleOrder(places, config, parameters);
  const vector = new Float32Array(places.length);
  let next = 0;
  for (const { name, index, shape } of parameters)
    for (let i = 0; i < shape.reduce((a, b) => a * b, 1); i++) {
      const u = Math.sin(0.37 * (i + 1) ** 2 + index);
      const plain = /W_E|W_pos|codes$/.test(name) ? u : 0.7 * u;
      vector[order[next++]!] = name.endsWith(".w") ? 1 + 0.1 * u : /\.b(_U)?$/.test(name) ? 0.1 * u : plain;
    }
  return vector;
}

/** Largest distance of two vectors' numbers; Infinity for vectors of different lengths. */
export function largestDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}
