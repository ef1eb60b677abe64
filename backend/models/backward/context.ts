import type { Tensor } from "@tensorflow/tfjs";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { mostPositions } from "../config.ts";
import { cutPadding, sliceAffine } from "../forward/chunks.ts";
import { bucket, type Chunk } from "../forward/plan.ts";
import { HookRequests } from "../forward/requests.ts";
import type { Extent, StageRequests } from "../forward/stage.ts";
import { blockHook, blockHookNames, isPattern } from "../transformer/hook-points.ts";
import type { StoredRun } from "./stored-run.ts";
import { type GradientHook, gradientFunctions, type Taps } from "./taps.ts";

/** The facts that every step of a backward pass goes by: the run, its requests at hook points, and its padding. */
export class BackwardContext {
  readonly run: StoredRun;
  /** Functions on gradients by full hook name. */
  readonly functions: ReadonlyMap<string, readonly GradientHook[]>;
  /** The stretch of all positions, padded as a forward's are. */
  readonly chunk: Chunk;
  readonly captured: boolean;
  /** Additive, for keys to leave out [rows, 1, 1, tokens]. */
  readonly keyMask: Tensor | undefined;
  readonly #requests: HookRequests;
  /** Cosines and sines of the positions for layers of either kind, made when first needed. */
  readonly #rotations = new Map<boolean, Tensor[]>();

  constructor(run: StoredRun, functions: ReadonlyMap<string, readonly GradientHook[]>) {
    this.run = run;
    this.functions = functions;
    const { model, hooks, interventions, input } = run;
    this.#requests = new HookRequests(model, { hooks, interventions });
    this.captured = hooks.length === 0 && functions.size === 0;
    const real = Math.max(...run.lengths);
    this.chunk = { first: 0, real, tokens: this.captured ? bucket(real) : real };
    this.keyMask = input.keyMask && tf.keep(this.#maskOf(input.keyMask));
  }

  get extent(): Extent {
    return { rows: this.run.lengths.length, tokens: this.chunk.tokens };
  }

  /** By row, the position at which it starts. */
  get starts(): number[] {
    return this.run.lengths.map(() => 0);
  }

  /** Requests at the final norm. */
  endRequests(): StageRequests {
    const { starts } = this;
    const whole = { ...this.chunk, tokens: this.chunk.real };
    return this.#requests.ofStage(
      { prefix: "", names: ["ln_final.hook_scale", "ln_final.hook_normalized"] },
      {
        starts,
        // Changes there stand for the wanted positions; a forward has checked that they can.
        slice: (affine, name) =>
          this.run.input.logitsAt === "all" ? sliceAffine(affine, name, whole, { starts }) : affine,
      },
    );
  }

  /** Requests at the hook points of a block. Its first one's interventions are in its stream already. */
  layerRequests(layer: number): StageRequests {
    const requests = this.#requests.ofStage(
      { prefix: blockHook(layer, ""), names: blockHookNames(this.run.model.config, layer) },
      {
        starts: this.starts,
        slice: (affine, name) => sliceAffine(affine, name, this.chunk, { starts: this.starts }),
      },
    );
    const affine = new Map([...requests.affine].filter(([name]) => name !== "hook_resid_pre"));
    return { ...requests, affine };
  }

  /** Functions on gradients at the hook points under a prefix, by the names behind it. */
  functionsAt(prefix: string, extent: Extent): Taps["functions"] {
    const own = [...this.functions].filter(([name]) =>
      prefix === "" ? name.startsWith("ln_final.") : name.startsWith(prefix),
    );
    return new Map(own.map(([name, hooks]) => [name.slice(prefix.length), gradientFunctions(hooks, name, extent)]));
  }

  /** Cosines and sines of the positions [rows * tokens, 1, rotary_dim]; none where the model does not rotate. @param local of a layer of local attention */
  rotation(local: boolean): Tensor[] {
    const { model, input } = this.run;
    const own = local && model.config.rotary_local !== undefined;
    const held = this.#rotations.get(own);
    if (held) return held;
    const { rows, tokens } = this.extent;
    const places = Array.from({ length: rows * tokens }, (_, i) => {
      const t = i % tokens;
      return Math.min(input.positions?.[Math.floor(i / tokens)]?.[t] ?? t, mostPositions(model.config) - 1);
    });
    const tables = model.rotaryUpTo(Math.max(...places) + 1, own);
    const made = tf.tidy(() => {
      const index = tf.tensor1d(places, "int32");
      const { rotary_dim } = model.config;
      return tables
        ? [tables.cos, tables.sin].map((t) => tf.keep(tf.reshape(gatherRows(t, index), [-1, 1, rotary_dim])))
        : [];
    });
    this.#rotations.set(own, made);
    return made;
  }

  /** [rows, positions, d_model] -> [rows * tokens, d_model] */
  padded(t: Tensor): Tensor {
    const { real, tokens } = this.chunk;
    const { rows } = this.extent;
    const whole = tokens === real ? t : tf.pad(t, [[0, 0], [0, tokens - real], [0, 0]]); // biome-ignore format: one line
    return tf.reshape(whole, [rows * tokens, -1]);
  }

  /** [rows * tokens, width] -> [rows, positions, width] */
  cut(t: Tensor): Tensor {
    return cutPadding(this.viewed("", t), "", this.chunk);
  }

  /** As activations are seen: [rows, tokens, ...], patterns [rows, heads, query, key]. */
  viewed(name: string, t: Tensor): Tensor {
    const { rows, tokens } = this.extent;
    return isPattern(name) ? t : tf.reshape(t, [rows, tokens, ...t.shape.slice(1)]);
  }

  /** Frees what only the pass itself needs. */
  dispose(): void {
    tf.dispose([...[...this.#rotations.values()].flat(), ...(this.keyMask ? [this.keyMask] : [])]);
  }

  #maskOf(keyMask: readonly (readonly number[])[]): Tensor {
    const { tokens, rows } = this.extent;
    const values = keyMask.map((row) => Array.from({ length: tokens }, (_, t) => ((row[t] ?? 0) > 0 ? 0 : -1e9)));
    return tf.tidy(() => tf.reshape(tf.tensor2d(values), [rows, 1, 1, tokens]));
  }
}
