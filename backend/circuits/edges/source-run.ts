import type { Tensor } from "@tensorflow/tfjs";
import { notFinite } from "../../hooks/finite.ts";
import { bucket } from "../../models/forward/plan.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import type { Interrupts } from "../batches.ts";
import { logitDifference } from "../loss.ts";
import type { TokenPair } from "../pairs.ts";
import { checkRoom, NUMBER_BYTES } from "../room.ts";
import type { EdgeGraph } from "./graph.ts";
import { behindNorm, type HeadOutputs } from "./split-block.ts";

/**
 * A prompt's run taken apart into what every node wrote and every node read. Positions are filled up with zeros, so that prompts of
 * similar length run the same functions; no position sees a later one.
 */
export interface SourceRun {
  /** logit(answer) - logit(wrong) of the whole run. */
  readonly difference: number;
  /** Its logits at the last position [1, 1, outputs]. */
  readonly logits: Tensor;
  /** Streams that heads read, by layer [1, positions, d_model]; the first is what `embed` writes. */
  readonly pre: readonly Tensor[];
  /** Streams that MLPs read, by layer. */
  readonly mid: readonly Tensor[];
  /** The stream behind the last layer. */
  readonly end: Tensor;
  /** Outputs of heads, by layer [1, heads, positions, d_model]. */
  readonly heads: readonly Tensor[];
  /** Of attention, what no head wrote and yet differs between runs, by layer [1, positions, d_model]; undefined where nothing does. */
  readonly rests: readonly (Tensor | undefined)[];
  /** Outputs of MLPs, by layer [1, positions, d_model]. */
  readonly mlps: readonly Tensor[];
  readonly bytes: number;
  dispose(): void;
}

/** Positions that a prompt's run is filled up to. */
export function filledPositions({ config }: Model, length: number): number {
  return Math.min(config.n_ctx, bucket(length));
}

/** Copies of every source's output that are held at the height of a run: of both whole runs, and differences twice while they grow. */
const COPIES = 4;

/**
 * Refuses to take prompts' runs apart where that does not fit into memory.
 * @param tokens of all prompts that are held together
 * @param gradients tokens that go back through the layers together, whose gradients at the inputs of every head of a layer are held
 * @throws HeadscopeError (unsupported) with what it takes and what is free
 */
export function checkSources(model: Model, graph: EdgeGraph, tokens: number, gradients = 0): void {
  const { d_model, n_layers, n_heads } = model.config;
  const outputs = COPIES * graph.sources.length * filledPositions(model, tokens);
  const streams = gradients * (n_layers + 1 + 3 * n_heads);
  const what = `the outputs of ${graph.sources.length} nodes over ${tokens} tokens${gradients > 0 ? ` and gradients over ${gradients}` : ""}`;
  checkRoom(what, NUMBER_BYTES * d_model * (outputs + streams), { remedy: "give a shorter prompt or fewer pairs" });
}

/** Runs one side of a pair and takes it apart. @throws HeadscopeError (input) for logits that are no numbers */
export async function runSources(
  model: Model,
  pair: TokenPair,
  side: "clean" | "corrupt",
  { onLayer, turn }: Interrupts,
): Promise<SourceRun> {
  const { config, weights } = model;
  const { n_layers, attn_only, parallel_attn_mlp } = config;
  const layers = Array.from({ length: n_layers }, (_, l) => l);
  const hooks = [
    ...["hook_resid_pre", "attn.hook_result"],
    ...(attn_only ? [] : ["hook_mlp_out", ...(parallel_attn_mlp ? [] : ["hook_resid_mid"])]),
  ];
  const names = layers.flatMap((layer) => hooks.map((hook) => blockHook(layer, hook)));
  const result = await forwardInTurns(
    model,
    { tokens: [pair[side]], logitsAt: "last" },
    { names, onLayer: () => onLayer() },
    turn,
  );
  try {
    const difference = logitDifference(result.logits!, pair)[0]!;
    if (!Number.isFinite(difference)) throw notFinite(model, "the logits", [pair[side]]);
    const positions = filledPositions(model, pair[side].length);
    const by = (hook: string): Tensor[] =>
      hooks.includes(hook) ? layers.map((l) => filled(result.activations.get(blockHook(l, hook))!, positions)) : [];
    const pre = by("hook_resid_pre");
    const mlps = by("hook_mlp_out");
    const mid = parallel_attn_mlp ? pre : by("hook_resid_mid");
    const end = filled(result.resid, positions);
    const outputs = by("attn.hook_result").map((written, l) => {
      const split = behindNormOf(written, { weights: weights.blocks[l]!, config });
      written.dispose();
      return split;
    });
    const [heads, rests] = [outputs.map((o) => o.heads), outputs.map((o) => o.rest)];
    const logits = tf.clone(result.logits!);
    const all = [
      ...new Set([logits, ...pre, ...mid, ...mlps, ...heads, ...rests.filter((rest) => rest !== undefined), end]),
    ];
    const bytes = 4 * all.reduce((sum, { size }) => sum + size, 0);
    return { difference, logits, pre, mid, end, heads, rests, mlps, bytes, dispose: () => tf.dispose(all) };
  } finally {
    result.dispose();
  }
}

/** Heads' outputs [1, positions, heads, d_model] behind a norm that follows attention. */
function behindNormOf(written: Tensor, block: Parameters<typeof behindNorm>[1]): HeadOutputs {
  const [heads, rest] = tf.tidy(() => {
    const { heads, rest } = behindNorm(tf.transpose(written, [0, 2, 1, 3]), block);
    return rest ? [heads, rest] : [heads];
  });
  return { heads: heads!, rest };
}

/** An activation with zeros behind its last position. @param x [1, length, ...] @returns [1, positions, ...] */
function filled(x: Tensor, positions: number): Tensor {
  const padding = x.shape.map((n, axis): [number, number] => [0, axis === 1 ? positions - n : 0]);
  return tf.pad(x, padding);
}
