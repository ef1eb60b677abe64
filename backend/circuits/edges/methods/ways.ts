import type { Tensor } from "@tensorflow/tfjs";
import { forwardInTurns } from "../../../models/forward/turns.ts";
import { blockHook } from "../../../models/transformer/hook-points.ts";
import { tf } from "../../../runtime/tf.ts";
import type { Interrupts } from "../../batches.ts";
import type { PairBatch } from "./batch.ts";

/** Activations of the clean and of the corrupt run [pairs, positions, d_model]. */
export type Ends = readonly [Tensor, Tensor];

/**
 * The activations of some runs of every pair, each at a share of a way.
 * @param shares 1 is the way's end @returns [pairs * shares, positions, d_model]; the caller disposes it
 */
export type Path = (shares: readonly number[]) => Tensor;

/** The straight way from the corrupt activations to the clean ones. */
function straight([clean, corrupt]: Ends): Path {
  return (shares) =>
    tf.tidy(() => {
      const [pairs, positions, d_model] = clean.shape as [number, number, number];
      const way = tf.tensor4d([...shares], [1, shares.length, 1, 1]);
      const [from, to] = [corrupt, clean].map((x) => tf.reshape(x, [pairs, 1, positions, d_model]));
      return tf.reshape(tf.add(from!, tf.mul(way, tf.sub(to!, from!))), [pairs * shares.length, positions, d_model]);
    });
}

/** Runs beside a pair's two, in which the outputs of some sources go along a path and all before them is as in the clean run. */
export interface Way {
  /** Sources whose edges take these runs' mean gradient: consecutive ones of the graph. */
  readonly sources: { readonly first: number; readonly count: number };
  /** First layer that the runs compute. */
  readonly startLayer: number;
  /** Activations that go along it: of the stream before the first layer, unless they are put inside it. */
  readonly path: Path;
  /** The hook point that they are put at, and the stream before the first layer [pairs, positions, d_model]. */
  readonly inside?: { readonly name: string; readonly stream: Tensor };
}

/** All ways of an estimate. The caller disposes them. */
export interface Ways {
  readonly ways: readonly Way[];
  dispose(): void;
}

/** The way of the embeddings, whose gradients count for the edges from all sources. */
export async function inputWay({ graph }: PairBatch, embeds: Ends): Promise<Ways> {
  const sources = { first: 0, count: graph.sources.length };
  return { ways: [{ sources, startLayer: 0, path: straight(embeds) }], dispose: () => undefined };
}

/**
 * A way for the embedding, for the heads of each layer together, and for each MLP: in its runs the outputs of those sources alone
 * are interpolated.
 */
export async function activationWays(batch: PairBatch, embeds: Ends, { onLayer, turn }: Interrupts): Promise<Ways> {
  const { model, graph, pairs } = batch;
  const { n_layers, n_heads, attn_only, parallel_attn_mlp } = model.config;
  const layers = Array.from({ length: n_layers }, (_, layer) => layer);
  const hooks = ["hook_resid_pre", "hook_attn_out", ...(attn_only ? [] : ["hook_mlp_out"])];
  const names = layers.flatMap((layer) => hooks.map((hook) => blockHook(layer, hook)));
  const run = (side: "clean" | "corrupt") =>
    forwardInTurns(
      model,
      { tokens: pairs.map((pair) => pair[side]), logitsAt: "none" },
      { names, onLayer: () => onLayer() },
      turn,
    );
  const clean = await run("clean");
  const corrupt = await run("corrupt").catch((error) => {
    clean.dispose();
    throw error;
  });
  const made: Tensor[] = [];
  const outputs = (name: string): Ends => [clean.activations.get(name)!, corrupt.activations.get(name)!];
  const first = (node: string): number => graph.sources.findIndex(({ name }) => name === node);
  /** Behind a layer nothing of it reads the output any more, so the stream there is interpolated. */
  const behind = (layer: number, name: string): Pick<Way, "startLayer" | "path"> => {
    const stream = clean.activations.get(blockHook(layer + 1, "hook_resid_pre")) ?? clean.resid;
    const [own, other] = outputs(name);
    const changed = tf.tidy(() => tf.add(stream, tf.sub(other, own)));
    made.push(changed);
    return { startLayer: layer + 1, path: straight([stream, changed]) };
  };
  const ofLayer = (layer: number): Way[] => {
    const heads = { first: first(`a${layer}.h0`), count: n_heads };
    const name = blockHook(layer, "hook_attn_out");
    if (attn_only) return [{ sources: heads, ...behind(layer, name) }];
    const stream = clean.activations.get(blockHook(layer, "hook_resid_pre"))!;
    const before: Way = parallel_attn_mlp
      ? { sources: heads, ...behind(layer, name) }
      : { sources: heads, startLayer: layer, path: straight(outputs(name)), inside: { name, stream } };
    const mlp = { first: first(`m${layer}`), count: 1 };
    return [before, { sources: mlp, ...behind(layer, blockHook(layer, "hook_mlp_out")) }];
  };
  const embed: Way = { sources: { first: 0, count: 1 }, startLayer: 0, path: straight(embeds) };
  const ways = [embed, ...layers.flatMap(ofLayer)];
  const dispose = (): void => {
    tf.dispose(made);
    clean.dispose();
    corrupt.dispose();
  };
  return { ways, dispose };
}
