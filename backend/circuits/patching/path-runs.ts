import type { Tensor } from "@tensorflow/tfjs";
import type { MetricName } from "../../common/metrics.ts";
import type { PatchDirection, PathEnd, PathMlps } from "../../common/patching.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import { forward } from "../../models/forward/forward.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Affine, ForwardOptions } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { parameter } from "../../models/weights/parameters.ts";
import { tf } from "../../runtime/tf.ts";
import type { Turn } from "../../runtime/turn.ts";
import type { TokenPair } from "../pairs.ts";
import { feeds, layerOf, type Receiver, type Sender } from "./path-nodes.ts";
import { runSides, type SideRun, type Sides } from "./sides.ts";
import { type Ungrouped, ungroup } from "./ungrouped.ts";

/** The receivers of paths, and how a pair is patched along them. */
export interface PathWork {
  readonly receivers: readonly Receiver[];
  readonly through: PathEnd | undefined;
  readonly mlps: PathMlps;
  readonly metric: MetricName;
  readonly direction: PatchDirection;
  readonly signal: AbortSignal | undefined;
  readonly turn: Turn | undefined;
}

/** Receivers that read one copy of the stream each at the same hook point. */
interface ReceivingPoint {
  /** Hook point of the input; undefined for the final norm's. */
  readonly hook: string | undefined;
  /** Hook point of the stream that is read. */
  readonly stream: string | undefined;
  readonly layer: number;
  /** One of the receivers: all read what comes before the same place. */
  readonly receiver: Receiver;
  /** Query heads, of receiving heads. */
  readonly heads: readonly number[];
}

/** One pair's runs, from which senders are patched into receivers. */
export class PathRuns {
  readonly sides: Sides;
  readonly #model: Model;
  readonly #work: PathWork;
  readonly #points: readonly ReceivingPoint[];
  /** Layers in which keys or values differ between query heads that share them, by layer. */
  readonly #ungrouped: ReadonlyMap<number, Ungrouped>;

  private constructor(model: Model, sides: Sides, points: readonly ReceivingPoint[], work: PathWork) {
    this.sides = sides;
    this.#model = model;
    this.#work = work;
    this.#points = points;
    const { n_heads, n_key_value_heads } = model.config;
    const layers =
      work.through === "q" || n_heads === n_key_value_heads ? [] : points.filter(({ heads }) => heads.length > 0);
    this.#ungrouped = new Map(layers.map(({ layer }) => [layer, ungroup(model, layer)]));
  }

  /** Runs both sides of a pair, and keeps what patching these senders needs. */
  static async of(model: Model, pair: TokenPair, senders: readonly Sender[], work: PathWork): Promise<PathRuns> {
    const { metric, direction, signal, turn } = work;
    const points = pointsOf(model, work);
    const written = senders.flatMap((sender) => writtenNames(model, sender));
    const all = model.weights.blocks.map((_, layer) => layer);
    const streams = [...all.map((layer) => blockHook(layer, "hook_resid_pre"))];
    const read = points.flatMap(({ stream }) => stream ?? []);
    const held = work.mlps === "recomputed" ? all.map((layer) => blockHook(layer, "hook_attn_out")) : [];
    const options = {
      metric,
      direction,
      base: [...new Set([...written, ...streams, ...read, ...held])],
      source: [...new Set([...written, streams[0]!])],
    };
    const onLayer = (): void => signal?.throwIfAborted();
    return new PathRuns(model, await runSides(model, pair, options, { onLayer, turn }), points, work);
  }

  /** Senders that can be rows of one batch: where MLPs are computed again, those that start at the same place. */
  groups(senders: readonly Sender[]): Sender[][] {
    if (this.#work.mlps === "frozen") return [[...senders]];
    const groups = new Map<string, Sender[]>();
    for (const sender of senders) {
      const key = sender.kind === "embed" ? "embed" : `${sender.kind} ${sender.layer}`;
      groups.set(key, [...(groups.get(key) ?? []), sender]);
    }
    return [...groups.values()];
  }

  /** The metric with each of some senders patched into all receivers. @param senders of one group */
  async patch(senders: readonly Sender[]): Promise<number[]> {
    const { base, measure } = this.sides;
    const first = Math.min(...this.#points.map(({ layer }) => layer));
    const stream = first < this.#model.config.n_layers ? this.#base(blockHook(first, "hook_resid_pre")) : base.resid;
    const { resid, changes } = this.#changes(senders, stream);
    try {
      const logits = await this.#run(resid, first, changes);
      const values = measure(logits);
      logits.dispose();
      return values;
    } finally {
      tf.dispose([resid, ...changes.flatMap(({ gain, bias }) => [gain, bias])]);
    }
  }

  dispose(): void {
    this.sides.dispose();
    for (const { dispose } of this.#ungrouped.values()) dispose();
  }

  #base(name: string): Tensor {
    return this.sides.base.activations.get(name)!;
  }

  /** The base run's stream before the first receiver, a row a sender, and the change of what each receiving point reads. */
  #changes(senders: readonly Sender[], stream: Tensor): { resid: Tensor; changes: Affine[] } {
    const { config } = this.#model;
    let changes: Affine[] = [];
    const resid = tf.tidy(() => {
      const read = this.#work.mlps === "frozen" ? this.#directly(senders) : this.#throughMlps(senders);
      changes = this.#points.map((point, p) => {
        const rows = tf.tensor3d(
          senders.map((sender) => Number(feeds(sender, point.receiver, config))),
          [senders.length, 1, 1],
        );
        const change = tf.mul(read[p]!, rows); // [senders, positions, d_model]
        const bias = point.heads.length === 0 ? change : tf.mul(tf.expandDims(change, 2), this.#headMask(point.heads));
        return { gain: tf.keep(tf.scalar(1)), bias: tf.keep(bias) };
      });
      return tf.tile(stream, [senders.length, 1, 1]);
    });
    return { resid, changes };
  }

  /** 1 for receiving heads [1, 1, heads, 1]. */
  #headMask(heads: readonly number[]): Tensor {
    const { n_heads } = this.#model.config;
    const mask = Array.from({ length: n_heads }, (_, head) => Number(heads.includes(head)));
    return tf.tensor4d(mask, [1, 1, n_heads, 1]);
  }

  /** Runs the base stream on, with what receivers read changed. @returns logits [senders, 1, outputs] */
  async #run(resid: Tensor, first: number, changes: readonly Affine[]): Promise<Tensor> {
    const { signal, turn } = this.#work;
    const { n_layers } = this.#model.config;
    const interventions = new Map(
      this.#points.flatMap(({ hook }, p) => (hook === undefined ? [] : [[hook, changes[p]!]])),
    );
    const options = { interventions, onLayer: () => signal?.throwIfAborted() };
    const end = this.#points.findIndex(({ hook }) => hook === undefined);
    let stream = tf.clone(resid);
    try {
      for (let layer = first; layer < n_layers; ) {
        const alone = this.#ungrouped.get(layer);
        const next = Array.from(this.#ungrouped.keys()).filter((l) => l > layer);
        const stopLayer = alone ? layer + 1 : Math.min(n_layers, ...next);
        const input = { resid: stream, startLayer: layer, stopLayer, logitsAt: "none" } as const;
        const { resid: after } = await forwardInTurns(alone?.model ?? this.#model, input, options, turn);
        stream.dispose();
        stream = after;
        layer = stopLayer;
      }
      const last = tf.tidy(() => {
        const changed = end < 0 ? stream : tf.add(stream, changes[end]!.bias);
        return tf.slice(changed, [0, changed.shape[1]! - 1], [changed.shape[0]!, 1]);
      });
      const { logits, resid: done } = forward(this.#model, { resid: last, startLayer: n_layers, logitsAt: "last" });
      tf.dispose([last, done]);
      return logits!;
    } finally {
      stream.dispose();
    }
  }

  /** Differences of what senders write in the two runs, the same at every receiving point [senders, positions, d_model]. */
  #directly(senders: readonly Sender[]): Tensor[] {
    const change = this.#written(senders);
    return this.#points.map(() => change);
  }

  /**
   * Changes of the stream at every receiving point in a run in which a sender has its other output, all other heads are held at
   * the base run, and MLPs are computed [senders, positions, d_model].
   */
  #throughMlps(senders: readonly Sender[]): Tensor[] {
    const { signal } = this.#work;
    const { n_layers } = this.#model.config;
    const [sender] = senders as [Sender];
    const first = sender.kind === "embed" ? 0 : sender.layer;
    const change = this.#written(senders);
    const ones = tf.ones([1, 1, 1]);
    const held = Array.from({ length: n_layers - first }, (_, i): [string, Affine] => {
      const name = blockHook(first + i, "hook_attn_out");
      const own = sender.kind === "head" && i === 0;
      return [name, replaceWhere(ones, own ? tf.add(this.#base(name), change) : this.#base(name))];
    });
    const out = blockHook(first, "hook_mlp_out");
    const sent: [string, Affine][] =
      sender.kind === "mlp" ? [[out, replaceWhere(ones, tf.add(this.#base(out), change))]] : [];
    const start = tf.tile(this.#base(blockHook(first, "hook_resid_pre")), [senders.length, 1, 1]);
    const names = [...new Set(this.#points.flatMap(({ stream, layer }) => (stream && layer >= first ? [stream] : [])))];
    const options: ForwardOptions = {
      names,
      interventions: new Map([...held, ...sent]),
      onLayer: () => signal?.throwIfAborted(),
    };
    const input = {
      resid: sender.kind === "embed" ? tf.add(start, change) : start,
      startLayer: first,
      logitsAt: "none",
    } as const;
    const { resid, activations } = forward(this.#model, input, options);
    const changes = this.#points.map(({ stream }) => {
      if (stream === undefined) return tf.sub(resid, this.sides.base.resid);
      // A point before the senders reads nothing of them.
      return activations.has(stream) ? tf.sub(activations.get(stream)!, this.#base(stream)) : tf.zerosLike(change);
    });
    tf.dispose([...activations.values()]); // they are kept beyond a tidy
    return changes;
  }

  /** The change of what senders write in the run that activations are taken from, less that in the base run [senders, positions, d_model]. */
  #written(senders: readonly Sender[]): Tensor {
    const { base, source } = this.sides;
    const layers = new Map<number, Tensor>();
    const heads = (layer: number): Tensor => {
      const change =
        layers.get(layer) ?? tf.sub(headOutputs(this.#model, source, layer), headOutputs(this.#model, base, layer));
      layers.set(layer, change);
      return change;
    };
    const change = (name: string): Tensor => tf.sub(source.activations.get(name)!, base.activations.get(name)!);
    return tf.concat(
      senders.map((sender) => {
        if (sender.kind === "embed") return change(blockHook(0, "hook_resid_pre"));
        if (sender.kind === "mlp") return change(blockHook(sender.layer, "hook_mlp_out"));
        return tf.slice(heads(sender.layer), sender.head, 1);
      }),
    );
  }
}

/** Hook points of what a sender writes. */
function writtenNames({ weights }: Model, sender: Sender): string[] {
  if (sender.kind === "embed") return [blockHook(0, "hook_resid_pre")];
  if (sender.kind === "mlp") return [blockHook(sender.layer, "hook_mlp_out")];
  const post = weights.blocks[sender.layer]!.ln1Post ? ["ln1_post.hook_scale"] : [];
  return ["attn.hook_z", ...post].map((name) => blockHook(sender.layer, name));
}

/**
 * The outputs of the heads of a layer, without the bias behind them [heads, positions, d_model]. Where a norm stands behind
 * attention they share the scale that it has in the run, so that they add up.
 */
function headOutputs(model: Model, { activations }: SideRun, layer: number): Tensor {
  const z = tf.transpose(tf.squeeze(activations.get(blockHook(layer, "attn.hook_z"))!, [0]), [1, 0, 2]);
  const written = tf.matMul(z, parameter(model, `blocks.${layer}.attn.W_O`));
  const { ln1Post } = model.weights.blocks[layer]!;
  if (!ln1Post) return written;
  const centred = model.config.normalization_type === "LN" ? tf.sub(written, tf.mean(written, -1, true)) : written;
  return tf.mul(tf.div(centred, activations.get(blockHook(layer, "ln1_post.hook_scale"))!), ln1Post.w);
}

/** The receivers by the hook point of what they read, in the order of the computation. */
function pointsOf({ config }: Model, { receivers, through }: PathWork): ReceivingPoint[] {
  const points = new Map<string, ReceivingPoint>();
  for (const receiver of receivers) {
    const layer = layerOf(receiver, config);
    const name = { head: `hook_${through}_input`, mlp: "hook_mlp_in", logits: undefined }[receiver.kind];
    const stream = { head: "hook_resid_pre", mlp: "hook_mlp_in", logits: undefined }[receiver.kind];
    const hook = name && blockHook(layer, name);
    const before = points.get(String(hook))?.heads ?? [];
    const heads = receiver.kind === "head" ? [...before, receiver.head] : [];
    points.set(String(hook), { hook, stream: stream && blockHook(layer, stream), layer, receiver, heads });
  }
  return [...points.values()];
}
