import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../errors.ts";
import type { HeadRef } from "../heads/model.ts";
import { formatHead } from "../heads/refs.ts";
import { forward } from "../models/forward.ts";
import { blockHook } from "../models/hook-points.ts";
import type { Model } from "../models/model.ts";
import { parameter } from "../models/weights.ts";
import { tf } from "../runtime/tf.ts";
import { logitDifference, meanResult, type Pair, type PatchResult, type TokenPair, tokenPairs } from "./patch.ts";

/** Inputs of a head that a path can end in. */
export const PATH_ENDS = ["q", "k", "v"] as const;
export type PathEnd = (typeof PATH_ENDS)[number];

export interface PathOptions {
  pairs: readonly Pair[];
  /** Receivers, all of one layer. */
  into: readonly HeadRef[];
  /** Which of their inputs. */
  through: PathEnd;
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
}

/**
 * Path patching: the corrupt prompt, with one earlier head's output as in the clean prompt, but only in what the receivers
 * compute their queries, keys or values from. It shows which heads compose with them, and how.
 * @returns metrics; `patched` by sender [layers before the receivers'][heads]
 * @throws HeadscopeError for receivers of the first layer or of several layers, and as `patch` does
 * @see Wang et al. 2023, Interpretability in the Wild, path patching; Elhage et al. 2021 for Q-, K- and V-composition
 */
export async function patchPaths(model: Model, options: PathOptions): Promise<PatchResult> {
  const { into, through, progress, signal } = options;
  const layer = receiverLayer(model, into);
  const pairs = tokenPairs(model, options.pairs, options);
  const results: PatchResult[] = [];
  for (const pair of pairs) {
    signal?.throwIfAborted();
    results.push(tf.tidy(() => ({ ...patchPair(model, pair, layer, into, through) })));
    progress?.(results.length, pairs.length, "path patching, pairs");
    await new Promise(setImmediate);
  }
  return meanResult(results);
}

function receiverLayer({ config }: Model, into: readonly HeadRef[]): number {
  const [first, ...others] = into;
  if (!first) throw new HeadscopeError("usage", "no head is named to receive", { remedy: "give at least one" });
  const odd = others.find(({ layer }) => layer !== first.layer);
  if (odd)
    throw new HeadscopeError("usage", `${formatHead(first)} and ${formatHead(odd)} are in different layers`, {
      remedy: "give receivers of one layer",
    });
  if (first.layer === 0)
    throw new HeadscopeError("usage", `${formatHead(first)} is in the first layer: no head comes before it`, {
      remedy: "give heads of a later layer",
    });
  if (first.layer >= config.n_layers)
    throw new HeadscopeError("usage", `there is no layer ${first.layer}`, {
      remedy: `layers are 0 to ${config.n_layers - 1}`,
    });
  return first.layer;
}

function patchPair(
  model: Model,
  pair: TokenPair,
  layer: number,
  into: readonly HeadRef[],
  through: PathEnd,
): PatchResult {
  const { n_heads: H, n_key_value_heads: G, d_model } = model.config;
  const positions = pair.clean.length;
  const senders = layer * H;
  const [clean, corrupt] = [pair.clean, pair.corrupt].map((tokens) => run(model, pair, tokens, layer));
  // What each sender writes differently in the clean prompt [senders, positions, 1, d_model].
  const changes = clean!.z.map((z, l) => {
    const difference = tf.transpose(tf.squeeze(tf.sub(z, corrupt!.z[l]!), [0]), [1, 0, 2]); // [heads, positions, d_head]
    return tf.matMul(difference, parameter(model, `blocks.${l}.attn.W_O`));
  });
  const change = tf.reshape(tf.concat(changes, 0), [senders, positions, 1, d_model]);
  const heads = through === "q" ? H : G;
  const received = new Set(into.map(({ head }) => (through === "q" ? head : Math.floor((head * G) / H))));
  const mask = tf.tensor4d(
    Array.from({ length: heads }, (_, h) => Number(received.has(h))),
    [1, 1, heads, 1],
  );
  const { logits } = forward(
    model,
    { resid: tf.tile(corrupt!.resid, [senders, 1, 1]), startLayer: layer, logitsAt: "last" },
    {
      interventions: new Map([
        [blockHook(layer, `hook_${through}_input`), { gain: tf.scalar(1), bias: tf.mul(change, mask) }],
      ]),
    },
  );
  const values = logitDifference(logits!, pair);
  for (const made of [clean!, corrupt!]) made.dispose();
  return {
    clean: clean!.metric,
    corrupt: corrupt!.metric,
    patched: Array.from({ length: layer }, (_, l) => values.slice(l * H, (l + 1) * H)),
  };
}

/** A prompt's metric, the head outputs z [1, positions, heads, d_head] of the layers before one, and the stream before it. */
function run(model: Model, pair: TokenPair, tokens: number[], layer: number) {
  const names = Array.from({ length: layer }, (_, l) => blockHook(l, "attn.hook_z"));
  const before = blockHook(layer, "hook_resid_pre");
  const result = forward(model, { tokens: [tokens], logitsAt: "last" }, { names: [...names, before] });
  return {
    metric: logitDifference(result.logits!, pair)[0]!,
    z: names.map((name) => result.activations.get(name) as Tensor),
    resid: result.activations.get(before) as Tensor,
    dispose: result.dispose,
  };
}
