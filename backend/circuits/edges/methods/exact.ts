import type { Tensor } from "@tensorflow/tfjs";
import { forward } from "../../../models/forward/forward.ts";
import type { Model } from "../../../models/model.ts";
import { gatherRows } from "../../../runtime/ops.ts";
import { tf } from "../../../runtime/tf.ts";
import { evenBatches, type Interrupts } from "../../batches.ts";
import { streamLogits } from "../../loss.ts";
import { pairMeasure } from "../../metrics/measure.ts";
import type { TokenPair } from "../../pairs.ts";
import type { Destination, EdgeGraph } from "../graph.ts";
import { HEAD_INPUTS } from "../graph.ts";
import { rotationsOf, SplitLayer } from "../layer-stages.ts";
import { runSources, type SourceRun } from "../source-run.ts";
import type { EdgeWork, PairBatch, PairScores } from "./batch.ts";

/** A pair's two whole runs, taken apart. */
interface SplitPair {
  readonly model: Model;
  readonly graph: EdgeGraph;
  readonly pair: TokenPair;
  readonly clean: SourceRun;
  readonly corrupt: SourceRun;
  /** The metric of runs. @param logits at the last position [rows, 1, outputs] @returns one a row */
  measure(logits: Tensor): number[];
}

/** Bytes of the copies of the stream that heads of one batch read. */
const BATCH_BYTES = 2 ** 27;

/** An edge to corrupt. */
interface EdgeEnds {
  /** Its place among the edges asked for. */
  place: number;
  /** Its source's place in the graph. */
  source: number;
  destination: Destination;
}

/** Exact scores on a batch of one pair. */
export async function exactScores({ model, graph, pairs, metric }: PairBatch, work: EdgeWork): Promise<PairScores> {
  const pair = pairs[0]!;
  const clean = await runSources(model, pair, "clean", work);
  try {
    const corrupt = await runSources(model, pair, "corrupt", work);
    try {
      const onEdges = (done: number): void => work.onShare(done / work.edges.length);
      const measure = pairMeasure(metric, pair, clean.logits);
      const split = { model, graph, pair, clean, corrupt, measure };
      const scores = await exactEffects(split, work.edges, { ...work, onEdges });
      return {
        clean: measure(clean.logits)[0]!,
        corrupt: measure(corrupt.logits)[0]!,
        differences: { clean: clean.difference, corrupt: corrupt.difference },
        scores,
      };
    } finally {
      corrupt.dispose();
    }
  } finally {
    clean.dispose();
  }
}

/**
 * The metric with one edge alone corrupted, less the clean metric, by edge. Up to the edge's destination that run is the clean one,
 * and behind it nothing is patched: the edges into a layer are rows of a batch that starts there.
 * @param edges numbers of the edges
 * @param onEdges called with the number of edges done
 */
async function exactEffects(
  split: SplitPair,
  edges: readonly number[],
  { onLayer, turn, onEdges }: Interrupts & { onEdges: (done: number) => void },
): Promise<Float64Array> {
  const { model, graph, clean } = split;
  const { n_layers, n_heads, d_model } = model.config;
  const T = clean.end.shape[1]!;
  const ends = edges.map((edge, place): EdgeEnds => {
    const { source, destination } = graph.ends(edge);
    return { place, source: graph.sources.indexOf(source), destination };
  });
  const effects = new Float64Array(edges.length);
  const [whole] = split.measure(clean.logits);
  const differences = sourceDifferences(split); // [sources, positions * d_model]
  const rotations = rotationsOf(model, T);
  let done = 0;
  const batch = async (group: EdgeEnds[], bytes: number, run: (rows: EdgeEnds[]) => number[]): Promise<void> => {
    const most = Math.max(1, Math.floor(BATCH_BYTES / bytes));
    for (let start = 0; start < group.length; start += most) {
      const part = group.slice(start, start + most);
      for (const { first, count, size } of evenBatches(part.length, T)) {
        onLayer();
        const rows = Array.from({ length: size }, (_, i) => part[Math.min(first + i, part.length - 1)]!);
        const metrics = run(rows);
        rows.slice(0, count).forEach(({ place }, i) => {
          effects[place] = metrics[i]! - whole!;
        });
        done += count;
        onEdges(done);
        await turn?.();
      }
    }
  };
  try {
    for (let layer = 0; layer < n_layers; layer++) {
      const into = (kind: "head" | "mlp") => ends.filter(({ destination: d }) => d.kind === kind && d.layer === layer);
      const [heads, mlps] = [into("head"), into("mlp")];
      if (heads.length + mlps.length === 0) continue;
      const own = new SplitLayer(model, layer, rotations);
      try {
        const width = 4 * T * d_model;
        await batch(heads, 3 * n_heads * width, (rows) =>
          metricsBehind(split, layer, throughHeads(split, own, layer, { rows, differences })),
        );
        await batch(mlps, width, (rows) =>
          metricsBehind(split, layer, throughMlp(split, own, layer, { rows, differences })),
        );
      } finally {
        own.dispose();
      }
    }
    const last = ends.filter(({ destination }) => destination.kind === "logits");
    await batch(last, 4 * T * d_model, (rows) => metricsAtEnd(split, () => changesOf(differences, rows)));
  } finally {
    differences.dispose();
    rotations.dispose();
  }
  return effects;
}

/** Corrupt less clean output of every source [sources, positions * d_model]. */
function sourceDifferences({ clean, corrupt }: Pick<SplitPair, "clean" | "corrupt">): Tensor {
  return tf.tidy(() => {
    const flat = (x: Tensor, sources: number): Tensor => tf.reshape(x, [sources, -1]);
    const parts = clean.heads.flatMap((heads, l) => {
      const own = flat(tf.sub(corrupt.heads[l]!, heads), heads.shape[1]!);
      return clean.mlps[l] ? [own, flat(tf.sub(corrupt.mlps[l]!, clean.mlps[l]!), 1)] : [own];
    });
    return tf.concat([flat(tf.sub(corrupt.pre[0]!, clean.pre[0]!), 1), ...parts], 0);
  });
}

/** Edges that run as rows, and the differences of all sources. */
interface Batch {
  rows: readonly EdgeEnds[];
  differences: Tensor;
}

/** By row, its source's difference [rows, positions * d_model]. */
function changesOf(differences: Tensor, rows: readonly EdgeEnds[]): Tensor {
  const index = rows.map(({ source }) => source);
  return gatherRows(differences, tf.tensor1d(index, "int32"));
}

/** The change of the stream behind a layer when by row one head's input changes [rows, positions * d_model]; inside a tidy. */
function throughHeads({ model, clean }: SplitPair, own: SplitLayer, layer: number, batch: Batch): () => Tensor {
  return () => {
    const { n_heads: H, attn_only, parallel_attn_mlp } = model.config;
    const { rows, differences } = batch;
    const chosen = new Float32Array(rows.length * 3 * H);
    rows.forEach(({ destination }, r) => {
      if (destination.kind !== "head") return;
      chosen[(3 * r + HEAD_INPUTS.indexOf(destination.input)) * H + destination.head] = 1;
    });
    const change = tf.mul(tf.tensor3d(chosen, [rows.length, 3 * H, 1]), tf.expandDims(changesOf(differences, rows), 1));
    const reference = { heads: clean.heads[layer]!, rest: clean.rests[layer] };
    const { heads, rest } = own.attention(change, clean.pre[layer]!, reference);
    const written = tf.sum(heads, 1);
    const attention = rest ? tf.add(written, tf.reshape(rest, written.shape)) : written;
    if (attn_only || parallel_attn_mlp) return attention;
    return tf.add(attention, own.mlp(attention, clean.mid[layer]!, clean.mlps[layer]!));
  };
}

/** The same when the MLP's input changes. */
function throughMlp({ clean }: SplitPair, own: SplitLayer, layer: number, { rows, differences }: Batch): () => Tensor {
  return () => own.mlp(changesOf(differences, rows), clean.mid[layer]!, clean.mlps[layer]!);
}

/** Metrics of runs that go on behind a layer from the clean stream and what `change` makes it differ by. */
function metricsBehind({ model, pair, clean, measure }: SplitPair, layer: number, change: () => Tensor): number[] {
  const [, T, d_model] = clean.end.shape as [number, number, number];
  const resid = tf.tidy(() => tf.add(tf.reshape(change(), [-1, T, d_model]), clean.pre[layer + 1] ?? clean.end));
  try {
    const { logits, dispose } = forward(model, { resid, startLayer: layer + 1, logitsAt: [pair.clean.length - 1] });
    const metrics = measure(logits!);
    dispose();
    return metrics;
  } finally {
    resid.dispose();
  }
}

/** Metrics of runs whose last stream alone differs from the clean one, by `change` [rows, positions * d_model]. */
function metricsAtEnd({ model, pair, clean, measure }: SplitPair, change: () => Tensor): number[] {
  return tf.tidy(() => {
    const [, T, d_model] = clean.end.shape as [number, number, number];
    const last = pair.clean.length - 1;
    const whole = tf.add(tf.reshape(change(), [-1, T, d_model]), clean.end);
    const streams = tf.reshape(tf.slice(whole, [0, last, 0], [-1, 1, -1]), [-1, d_model]);
    return measure(tf.expandDims(streamLogits(model, streams), 1));
  });
}
