import type { Tensor } from "@tensorflow/tfjs";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import type { Interrupts } from "../batches.ts";
import { streamLogits } from "../loss.ts";
import type { TokenPair } from "../pairs.ts";
import type { EdgeGraph } from "./graph.ts";
import { type PositionRotations, rotationsOf, SplitLayer } from "./layer-stages.ts";
import type { SourceRun } from "./source-run.ts";

/** A circuit: of every edge of the graph, 1 where it is in the circuit, else 0. */
export type EdgeSet = Uint8Array;

/** A pair's two whole runs, between which a circuit's run lies. */
export interface PairRuns {
  readonly model: Model;
  readonly graph: EdgeGraph;
  readonly pair: TokenPair;
  /** Output of `embed` in the clean run [1, positions, d_model]. */
  readonly cleanEmbed: Tensor;
  readonly corrupt: SourceRun;
  /** The metric of runs. @param logits at the last position [rows, 1, outputs] @returns one a row */
  measure(logits: Tensor): number[];
}

/** Bytes of the differences that a batch of circuits may hold. */
const BATCH_BYTES = 2 ** 28;

/** Circuits that run together: each holds the difference of every source. */
export function circuitsPerBatch({ graph, corrupt }: PairRuns): number {
  const [, positions, d_model] = corrupt.end.shape as [number, number, number];
  return Math.max(1, Math.floor(BATCH_BYTES / (4 * graph.sources.length * positions * d_model)));
}

/**
 * Runs a pair's clean prompt through circuits, as rows of a batch: the input of every destination is the sum of its sources'
 * outputs, of those whose edge is in the circuit as they come out in this very run, of the others as they were in the corrupt one.
 * What the sum has beside the corrupt run's stream is one product: the circuit's edges [destinations, sources] times the
 * sources' differences from the corrupt run [sources, positions * d_model].
 * @returns the metric at the last position, by circuit
 * @see Wang et al. 2023; Hanna et al. 2024, Have Faith in Faithfulness, section 2
 */
export async function runCircuits(
  runs: PairRuns,
  circuits: readonly EdgeSet[],
  { onLayer, turn }: Interrupts,
): Promise<number[]> {
  const { model, corrupt } = runs;
  const { n_layers } = model.config;
  const rotations = rotationsOf(model, corrupt.end.shape[1]!);
  const run = new AssembledRun(runs, circuits, rotations);
  try {
    for (let layer = 0; layer < n_layers; layer++) {
      onLayer();
      if (layer > 0) await turn?.();
      run.layer(layer);
    }
    return tf.tidy(() => runs.measure(tf.expandDims(streamLogits(model, run.end()), 1)));
  } finally {
    run.dispose();
    rotations.dispose();
  }
}

/** Circuits' run under way. */
class AssembledRun {
  readonly #runs: PairRuns;
  readonly #circuits: readonly EdgeSet[];
  readonly #rotations: PositionRotations;
  /** Differences of the sources so far from the corrupt run [circuits, sources, positions * d_model]. */
  #differences: Tensor;
  /** The part of the runs' streams beside the corrupt one's that no circuit decides on [circuits, positions, d_model]. */
  #shift: Tensor | undefined;

  constructor(runs: PairRuns, circuits: readonly EdgeSet[], rotations: PositionRotations) {
    this.#runs = runs;
    this.#circuits = circuits;
    this.#rotations = rotations;
    const { cleanEmbed, corrupt } = runs;
    this.#differences = tf.tidy(() =>
      tf.tile(tf.reshape(tf.sub(cleanEmbed, corrupt.pre[0]!), [1, 1, -1]), [circuits.length, 1, 1]),
    );
  }

  /** Runs one layer. */
  layer(layer: number): void {
    const { model, corrupt } = this.#runs;
    const { n_heads: H, attn_only, parallel_attn_mlp } = model.config;
    const split = new SplitLayer(model, layer, this.#rotations);
    try {
      const [differences, shift] = tf.tidy(() => {
        const before = this.#differences;
        const reference = { heads: corrupt.heads[layer]!, rest: corrupt.rests[layer] };
        const change = this.#product(this.#mask(`a${layer}.h0<q>`, 3 * H), [before]);
        const { heads, rest } = split.attention(change, this.#stream(corrupt.pre[layer]!), reference);
        const after = rest ? (this.#shift ? tf.add(this.#shift, rest) : rest) : this.#shift;
        const written = [before, heads];
        if (!attn_only) {
          const change = this.#product(this.#mask(`m${layer}`, 1), parallel_attn_mlp ? [before] : written);
          const stream = this.#stream(corrupt.mid[layer]!, parallel_attn_mlp ? this.#shift : after);
          const flat = tf.squeeze(change, [1]);
          written.push(tf.expandDims(split.mlp(flat, stream, corrupt.mlps[layer]!), 1));
        }
        return [tf.concat(written, 1), after];
      });
      if (shift !== this.#shift) this.#shift?.dispose();
      this.#differences.dispose();
      [this.#differences, this.#shift] = [differences!, shift];
    } finally {
      split.dispose();
    }
  }

  /** The streams behind the last layer, at the last position [circuits, d_model]; inside a tidy. */
  end(): Tensor {
    const { corrupt, pair } = this.#runs;
    const d_model = corrupt.end.shape[2]!;
    const rows = this.#circuits.length;
    const last = pair.clean.length - 1;
    const at = (x: Tensor): Tensor => tf.slice(x, [0, last, 0], [x.shape[0]!, 1, d_model]);
    const sources = this.#differences.shape[1]!;
    const differences = tf.slice(this.#differences, [0, 0, last * d_model], [rows, sources, d_model]);
    const change = this.#product(this.#mask("logits", 1), [differences]); // [circuits, 1, d_model]
    const whole = tf.add(change, at(this.#stream(corrupt.end)));
    return tf.reshape(whole, [rows, d_model]);
  }

  dispose(): void {
    tf.dispose([this.#differences, ...(this.#shift ? [this.#shift] : [])]);
  }

  #stream(corrupt: Tensor, shift = this.#shift): Tensor {
    return shift ? tf.add(corrupt, shift) : corrupt;
  }

  /** The circuits' edges into consecutive destinations [circuits, destinations, sources]. @param first name of the first */
  #mask(first: string, destinations: number): Tensor {
    const { graph } = this.#runs;
    const place = graph.placeOf(first)!;
    const sources = graph.sourcesOf(graph.destinations[place]!);
    const start = graph.firstInto(place);
    const size = destinations * sources;
    const values = new Float32Array(this.#circuits.length * size);
    this.#circuits.forEach((edges, c) => {
      values.set(edges.subarray(start, start + size), c * size);
    });
    return tf.tensor3d(values, [this.#circuits.length, destinations, sources]);
  }

  /** Edges times differences. @param parts of consecutive sources [circuits, sources, n] @returns [circuits, destinations, n] */
  #product(mask: Tensor, parts: readonly Tensor[]): Tensor {
    const [rows, destinations] = mask.shape as [number, number];
    let first = 0;
    const products = parts.map((part) => {
      const sources = part.shape[1]!;
      const own = tf.slice(mask, [0, 0, first], [rows, destinations, sources]);
      first += sources;
      return tf.matMul(own, part);
    });
    return products.length === 1 ? products[0]! : tf.addN(products);
  }
}
