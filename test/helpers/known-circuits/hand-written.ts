import type { ModelConfig } from "../../../backend/models/config.ts";
import { Model } from "../../../backend/models/model.ts";
import { Matrix } from "../../../backend/models/weights/matrix.ts";

/** Tokens of the vocabulary, and positions of the context: a head has as many dimensions. */
export const SIZE = 16;

/** A map between two spaces of SIZE dimensions: of each dimension the one that it goes to, or nowhere. */
type Route = (dimension: number) => number | undefined;
/** Every dimension to its own. */
export const SAME: Route = (dimension) => dimension;

/** A stretch of the residual stream: one dimension a token, or a position. */
export type Space = "token" | "position" | "previous" | "middle" | "output" | "unread";
const SPACES: readonly Space[] = ["token", "position", "previous", "middle", "output", "unread"];

/** A part of a node that reads one space. */
interface Read {
  readonly from: Space;
  readonly route?: Route;
  /** Default 1. */
  readonly gain?: number;
}

/** A head: where its queries, keys and values come from, and where it writes. Without queries it attends evenly. */
export interface HandWrittenHead {
  readonly query?: Read;
  readonly key?: Read;
  readonly value: Read;
  readonly into: Space;
}

/** An MLP that looks each dimension of one space up and writes what it finds into another. */
export interface HandWrittenMlp extends Read {
  readonly into: Space;
}

/** The nodes of a layer. */
export interface HandWrittenLayer {
  readonly heads: readonly HandWrittenHead[];
  readonly mlp?: HandWrittenMlp;
}

/** A transformer whose weights are written by hand. @param reads spaces that the unembedding reads, default the output alone */
export function handWritten(
  name: string,
  layers: readonly HandWrittenLayer[],
  reads: readonly Space[] = ["output"],
): Model {
  const heads = layers[0]!.heads.length;
  const d_model = SIZE * SPACES.length;
  const mlps = layers.some(({ mlp }) => mlp);
  const config: ModelConfig = {
    n_layers: layers.length, n_heads: heads, n_key_value_heads: heads, d_model, d_head: SIZE, d_mlp: mlps ? SIZE : 0, n_ctx: SIZE,
    d_vocab: SIZE, act_fn: "relu", gated_mlp: false, attn_only: !mlps, normalization_type: null, eps: 1e-5, final_norm: false,
    positional_embedding_type: "standard", rotary_base: 10000, rotary_dim: SIZE, tie_word_embeddings: false, attn_scale: 1,
  }; // biome-ignore format: a table
  const blocks = layers.map((layer) => ({
    qkv: matrix(3 * heads * SIZE, d_model, (set) => {
      layer.heads.forEach(({ query, key, value }, h) => {
        for (const [p, part] of [query, key, value].entries())
          route(part, (to, from, gain) => set((p * heads + h) * SIZE + to, from, gain));
      });
    }),
    o: matrix(d_model, heads * SIZE, (set) => {
      layer.heads.forEach(({ into }, h) => {
        for (let i = 0; i < SIZE; i++) set(place(into) + i, h * SIZE + i, 1);
      });
    }),
    ...(mlps && {
      mlpIn: matrix(SIZE, d_model, (set) => route(layer.mlp, set)),
      mlpOut: matrix(d_model, SIZE, (set) => {
        for (let i = 0; i < SIZE && layer.mlp; i++) set(place(layer.mlp.into) + i, i, 1);
      }),
    }),
  }));
  const identity = (spaces: readonly Space[], gain = 1) =>
    matrix(SIZE, d_model, (set) => {
      for (const space of spaces) for (let i = 0; i < SIZE; i++) set(i, place(space) + i, gain);
    });
  return new Model({
    ref: name,
    family: "constructed",
    digest: `sha256:${"0".repeat(64)}`,
    config,
    weights: { embed: identity(["token"]), posEmbed: identity(["position"]), blocks, unembed: identity(reads, 5) },
  });
}

function place(space: Space): number {
  return SIZE * SPACES.indexOf(space);
}

function route(part: Read | undefined, set: (to: number, from: number, gain: number) => void): void {
  if (!part) return;
  const { from, route: way = SAME, gain = 1 } = part;
  for (let i = 0; i < SIZE; i++) {
    const to = way(i);
    if (to !== undefined) set(to, place(from) + i, gain);
  }
}

function matrix(out: number, width: number, fill: (set: (row: number, column: number, value: number) => void) => void) {
  const values = new Float32Array(out * width);
  fill((row, column, value) => {
    values[row * width + column] = value;
  });
  return Matrix.fromValues(values, [out, width]);
}
