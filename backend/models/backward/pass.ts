import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { gatherRows, hasNative, sumRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { localWindow } from "../config.ts";
import { cutPadding, sliceAffine, withoutPadding } from "../forward/chunks.ts";
import { logitPositions } from "../forward/ends.ts";
import { bucket, type Chunk } from "../forward/plan.ts";
import { HookRequests } from "../forward/requests.ts";
import { type Extent, runStage, type StageRequests } from "../forward/stage.ts";
import { type Block, unembed } from "../transformer/block.ts";
import { blockHook, blockHookNames } from "../transformer/hook-points.ts";
import { type BlockTokens, wholeBlock } from "../transformer/whole-block.ts";
import type { BlockWeights } from "../weights/block-parts.ts";
import { flatten, flattenEnd, widenBlock } from "../weights/weights.ts";
import { HEAD_INPUTS, headInputGradients, PROJECTED, ungrouped, ungroupedWindows } from "./head-inputs.ts";
import type { BackwardStep } from "./step.ts";
import type { StoredRun } from "./stored-run.ts";
import { type GradientHook, gradientFunctions, type Taps, tapAt, tapped, vectorJacobian } from "./taps.ts";

/** A step, and the gradient with which the next one begins [rows * tokens, d_model]. */
interface Advance {
  gradient: Tensor;
  step: BackwardStep;
}

/** Hook points of a layer whose gradients are wanted. */
interface LayerWants {
  /** Without the block's prefix. */
  names: readonly string[];
  /** Also those at the inputs of heads and MLP. */
  inputs: boolean;
}

/** Gradients of a block [rows * tokens, ...]: at the stream before it, at names, and at the inputs of heads and MLP. */
interface BlockGradients {
  x: Tensor;
  names: Tensor[];
  heads?: Tensor | undefined;
  mlp?: Tensor | undefined;
}

/** One backward pass under way. */
export class BackwardPass {
  readonly #run: StoredRun;
  readonly #functions: ReadonlyMap<string, readonly GradientHook[]>;
  readonly #requests: HookRequests;
  /** The stretch of all positions, padded as a forward's are. */
  readonly #chunk: Chunk;
  readonly #captured: boolean;
  /** Cosines and sines of the positions for layers of either kind, made when first needed. */
  readonly #rotations = new Map<boolean, Tensor[]>();
  readonly #keyMask: Tensor | undefined;

  constructor(run: StoredRun, functions: ReadonlyMap<string, readonly GradientHook[]>) {
    this.#run = run;
    this.#functions = functions;
    const { model, hooks, interventions, input } = run;
    this.#requests = new HookRequests(model, { hooks, interventions });
    this.#captured = hooks.length === 0 && functions.size === 0;
    const real = Math.max(...run.lengths);
    this.#chunk = { first: 0, real, tokens: this.#captured ? bucket(real) : real };
    this.#keyMask = input.keyMask && tf.keep(this.#maskOf(input.keyMask));
  }

  /** Back through the final norm and the unembedding. @param names of the final norm */
  end(dLogits: Tensor, names: readonly string[]): Advance {
    const { model, streams, logits, input } = this.#run;
    const { config, weights } = model;
    const [rows, count, outputs] = logits.shape as [number, number, number];
    const extent = { rows, tokens: count };
    const everywhere = input.logitsAt === "all";
    return keeping(() => {
      const index = tf.tensor1d(this.#wantedRows(), "int32");
      const total = this.#chunk.real;
      const x = gatherRows(tf.reshape(streams.at(-1)!, [rows * total, config.d_model]), index);
      const requests = this.#requests.ofStage(
        { prefix: "", names: ["ln_final.hook_scale", "ln_final.hook_normalized"] },
        {
          starts: this.#starts,
          // Changes there stand for the wanted positions; a forward has checked that they can.
          slice: (affine, name) =>
            everywhere
              ? sliceAffine(affine, name, { ...this.#chunk, tokens: total }, { starts: this.#starts })
              : affine,
        },
      );
      const dense = rows * count > 8 && weights.unembed.narrow ? weights.unembed.widen() : undefined;
      const { out } = runStage({
        key: `backward end|${model.key}|${names.join("+")}`,
        extent,
        tensors: [x, tf.reshape(dLogits, [rows * count, outputs])],
        weights: flattenEnd(weights, dense ? weights.unembed.dense(dense) : weights.unembed),
        requests,
        xla: hasNative(),
        captured: this.#captured,
        body: ([x, dy], w, hook) => {
          const behind = new Map(names.map((name) => [name, tapAt(config, name, extent)]));
          const taps = { behind, before: new Map(), functions: this.#functionsAt("", extent) };
          return vectorJacobian((x) => unembed(x, w, config, tapped(hook, taps)), [x!, ...behind.values()], dy!);
        },
      });
      const [dx, ...own] = out as [Tensor, ...Tensor[]];
      const spread = tf.reshape(sumRows(dx, index, rows * total), [rows, total, config.d_model]);
      const clean = (t: Tensor, name: string): Tensor =>
        withoutPadding(t, name, { lengths: [...this.#run.lengths], total });
      const resid = clean(spread, "");
      const gradients = names.map((name, i): [string, Tensor] => {
        const view = tf.reshape(own[i]!, [rows, count, ...own[i]!.shape.slice(1)]);
        return [name, everywhere ? clean(view, name) : view];
      });
      return { gradient: this.#padded(resid), step: { layer: config.n_layers, resid, gradients: new Map(gradients) } };
    });
  }

  /** Back through a layer. @param dy gradient with respect to the stream behind it [rows * tokens, d_model] */
  layer(layer: number, dy: Tensor, { names, inputs }: LayerWants): Advance {
    const { model, streams, firstLayer } = this.#run;
    const narrow = model.weights.blocks[layer]!;
    const wide = this.#extent.rows * this.#extent.tokens > 8 ? widenBlock(narrow) : undefined;
    const weights = wide?.block ?? narrow;
    try {
      return keeping(() => {
        const x = this.#padded(streams[layer - firstLayer]!);
        const block = { layer, x, dy, weights };
        const named = names.length > 0 || !inputs ? this.#block(block, names) : undefined;
        const split = inputs ? this.#block(block, "inputs") : undefined;
        const dx = (named ?? split)!.x;
        const gradients = names.map((name, i): [string, Tensor] => [
          blockHook(layer, name),
          cutPadding(this.#viewed(name, named!.names[i]!), name, this.#chunk),
        ]);
        return {
          gradient: this.#throughStart(layer, dx),
          step: {
            layer,
            resid: this.#cut(dx),
            gradients: new Map(gradients),
            ...(split
              ? { inputs: { heads: this.#cutHeads(split.heads!), ...(split.mlp ? { mlp: this.#cut(split.mlp) } : {}) } }
              : {}),
          },
        };
      });
    } finally {
      wide?.dispose();
    }
  }

  /** True where a function on gradients stands at the embeddings. */
  get watchesEmbeddings(): boolean {
    return ["hook_embed", "hook_pos_embed"].some((name) => this.#functions.has(name));
  }

  /** The gradient at the embeddings, which the stream before the first layer is the sum of. */
  embeddings(dx: Tensor, names: readonly string[]): Advance {
    return keeping(() => {
      const resid = this.#cut(dx);
      const watched = ["hook_embed", "hook_pos_embed"].map((name): [string, Tensor] => {
        const functions = gradientFunctions(this.#functions.get(name) ?? [], name, this.#extent);
        return [
          name,
          tf.reshape(
            functions.reduce((g, f) => f(g), tf.reshape(resid, [-1, resid.shape[2]!])),
            resid.shape,
          ),
        ];
      });
      const gradients = new Map(watched.filter(([name]) => names.includes(name)));
      return { gradient: tf.clone(dx), step: { layer: -1, resid, gradients } };
    });
  }

  /** Frees what only the pass itself needs. */
  dispose(): void {
    tf.dispose([...[...this.#rotations.values()].flat(), ...(this.#keyMask ? [this.#keyMask] : [])]);
  }

  get #extent(): Extent {
    return { rows: this.#run.lengths.length, tokens: this.#chunk.tokens };
  }

  get #starts(): number[] {
    return this.#run.lengths.map(() => 0);
  }

  /**
   * The vector-Jacobian product of a block as one captured function.
   * @param wants names of hook points, or the inputs of heads (of every query head, also where they share keys) and MLP
   */
  #block(
    { layer, x, dy, weights }: { layer: number; x: Tensor; dy: Tensor; weights: BlockWeights },
    wants: readonly string[] | "inputs",
  ): BlockGradients {
    const { model, input } = this.#run;
    const { config } = model;
    const extent = this.#extent;
    const requests = this.#layerRequests(layer);
    const { names, headInputs } = this.#plan(layer, requests, wants);
    const local = localWindow(config, layer);
    const windows = input.windows?.[layer];
    const rotation = this.#rotation(local !== undefined);
    const flat = flatten(weights);
    const inputs = wants === "inputs";
    const { out } = runStage({
      key: `backward|${model.key}|${local}|${JSON.stringify(windows ?? [])}|${this.#keyMask ? "keys" : ""}|${inputs ? "inputs" : names.join("+")}|${headInputs}`,
      extent,
      tensors: [x, dy, ...rotation, ...(this.#keyMask ? [this.#keyMask] : [])],
      weights: flat,
      requests,
      xla: hasNative(),
      captured: this.#captured,
      body: ([x, dy, ...rest], read, hook) => {
        const [cos, sin] = rest;
        const turn = rotation.length > 0 ? { cos: cos!, sin: sin! } : undefined;
        const own = inputs ? ungrouped(read, config) : { weights: read, config };
        const tokens: BlockTokens = {
          rows: extent.rows,
          positions: extent.tokens,
          keyMask: rest[rotation.length],
          windows: inputs ? ungroupedWindows(windows, config) : windows,
          local,
        };
        const early = [...(headInputs ? PROJECTED : []), ...(inputs && !config.attn_only ? ["hook_mlp_in"] : [])];
        const behind = new Map(names.map((name) => [name, tapAt(config, name, extent)]));
        const before = new Map(early.map((name) => [name, tapAt(own.config, name, extent)]));
        const taps = { behind, before, functions: this.#functionsAt(blockHook(layer, ""), extent) };
        const block: Block = { ...own, hook: tapped(hook, taps) };
        const [dx, ...grads] = vectorJacobian(
          (x) => wholeBlock(block.hook("hook_resid_pre", x), turn, block, tokens),
          [x!, ...behind.values(), ...before.values()],
          dy!,
        ) as [Tensor, ...Tensor[]];
        const projected = grads.slice(names.length, names.length + 3);
        return [
          dx,
          ...grads.slice(0, names.length),
          ...(headInputs ? [headInputGradients(x!, projected, own)] : []),
          ...(inputs && !config.attn_only ? [grads.at(-1)!] : []),
        ];
      },
    });
    const heads = headInputs ? out[1 + names.length] : undefined;
    if (wants === "inputs") return { x: out[0]!, names: [], heads, mlp: config.attn_only ? undefined : out.at(-1)! };
    const at = new Map(names.map((name, i) => [name, out[1 + i]!]));
    return { x: out[0]!, names: wants.map((name) => at.get(name) ?? this.#headInput(name, heads!)) };
  }

  /**
   * The points to tap. Gradients at the heads' inputs follow from those of queries, keys and values, so that no head needs a copy of
   * the stream, unless something is changed there.
   */
  #plan(
    layer: number,
    requests: StageRequests,
    wants: readonly string[] | "inputs",
  ): { names: readonly string[]; headInputs: boolean } {
    const { config } = this.#run.model;
    const changed = (name: string): boolean =>
      requests.affine.has(name) || requests.hooks.has(name) || this.#functions.has(blockHook(layer, name));
    const isHeadInput = (name: string): boolean => (HEAD_INPUTS as readonly string[]).includes(name);
    const copies = HEAD_INPUTS.some(changed);
    const normChanged = ["ln1.hook_scale", "ln1.hook_normalized"].find(changed);
    const refuse = (what: string): HeadscopeError =>
      new HeadscopeError("unsupported", `${what}: layer ${layer} is changed between the stream and its projections`, {
        remedy: "ask for gradients at the heads' inputs of an unchanged layer, or at its queries, keys and values",
      });
    if (wants === "inputs") {
      const grouped = config.n_heads !== config.n_key_value_heads;
      const shared = ["attn.hook_k", "attn.hook_v", "attn.hook_rot_k"].some(changed);
      if (copies || normChanged || (grouped && shared)) throw refuse("no gradients at the inputs of heads");
      return { names: [], headInputs: true };
    }
    if (!wants.some(isHeadInput)) {
      const inside = wants.find((name) => name.startsWith("ln1."));
      if (copies && inside) throw refuse(`no gradient at ${inside}`);
      return { names: wants, headInputs: false };
    }
    if (normChanged || (copies && wants.some((name) => name.startsWith("ln1."))))
      throw refuse("no gradients at the inputs of heads");
    return copies
      ? { names: wants, headInputs: false }
      : { names: wants.filter((name) => !isHeadInput(name)), headInputs: true };
  }

  /** Gradients at the inputs of some heads [rows * tokens, heads, d_model]. @param all [queries', keys', values' heads, rows * tokens, d_model] */
  #headInput(name: string, all: Tensor): Tensor {
    const { n_heads: H, n_key_value_heads: G } = this.#run.model.config;
    const part = (first: number, heads: number): Tensor => tf.slice(all, [first, 0, 0], [heads, -1, -1]);
    const chosen = (): Tensor => {
      if (name === "hook_q_input") return part(0, H);
      if (name === "hook_k_input") return part(H, G);
      if (name === "hook_v_input") return part(H + G, G);
      return tf.addN([part(0, H), part(H, H), part(2 * H, H)]);
    };
    return tf.transpose(chosen(), [1, 0, 2]);
  }

  /** Requests at the hook points of a block. Its first one's interventions are in its stream already. */
  #layerRequests(layer: number): StageRequests {
    const requests = this.#requests.ofStage(
      { prefix: blockHook(layer, ""), names: blockHookNames(this.#run.model.config) },
      {
        starts: this.#starts,
        slice: (affine, name) => sliceAffine(affine, name, this.#chunk, { starts: this.#starts }),
      },
    );
    const affine = new Map([...requests.affine].filter(([name]) => name !== "hook_resid_pre"));
    return { ...requests, affine };
  }

  /** The gradient before the interventions at a layer's first hook point. @param dx [rows * tokens, d_model] */
  #throughStart(layer: number, dx: Tensor): Tensor {
    const name = blockHook(layer, "hook_resid_pre");
    const affine = this.#run.interventions.get(name);
    const change = affine && sliceAffine(affine, name, this.#chunk, { starts: this.#starts });
    if (!change) return tf.clone(dx);
    const { rows, tokens } = this.#extent;
    return tf.reshape(tf.mul(tf.reshape(dx, [rows, tokens, -1]), change.gain), dx.shape);
  }

  #functionsAt(prefix: string, extent: Extent): Taps["functions"] {
    const own = [...this.#functions].filter(([name]) =>
      prefix === "" ? name.startsWith("ln_final.") : name.startsWith(prefix),
    );
    return new Map(own.map(([name, hooks]) => [name.slice(prefix.length), gradientFunctions(hooks, name, extent)]));
  }

  /** Rows of the flat stream [rows * positions] whose logits are wanted. */
  #wantedRows(): number[] {
    const { lengths, input } = this.#run;
    const total = this.#chunk.real;
    return lengths.flatMap((length, row) =>
      logitPositions(input.logitsAt ?? "last", length, { row, total }).map((position) => row * total + position),
    );
  }

  #rotation(local: boolean): Tensor[] {
    const { model, input } = this.#run;
    const own = local && model.config.rotary_local !== undefined;
    const held = this.#rotations.get(own);
    if (held) return held;
    const { rows, tokens } = this.#extent;
    const places = Array.from({ length: rows * tokens }, (_, i) => {
      const t = i % tokens;
      return Math.min(input.positions?.[Math.floor(i / tokens)]?.[t] ?? t, model.config.n_ctx - 1);
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

  #maskOf(keyMask: readonly (readonly number[])[]): Tensor {
    const { tokens, rows } = this.#extent;
    const values = keyMask.map((row) => Array.from({ length: tokens }, (_, t) => ((row[t] ?? 0) > 0 ? 0 : -1e9)));
    return tf.tidy(() => tf.reshape(tf.tensor2d(values), [rows, 1, 1, tokens]));
  }

  /** [rows, positions, d_model] -> [rows * tokens, d_model] */
  #padded(t: Tensor): Tensor {
    const { real, tokens } = this.#chunk;
    const { rows } = this.#extent;
    const whole = tokens === real ? t : tf.pad(t, [[0, 0], [0, tokens - real], [0, 0]]); // biome-ignore format: one line
    return tf.reshape(whole, [rows * tokens, -1]);
  }

  /** [rows * tokens, width] -> [rows, positions, width] */
  #cut(t: Tensor): Tensor {
    return cutPadding(this.#viewed("", t), "", this.#chunk);
  }

  /** [3 * heads, rows * tokens, d_model] -> [3, heads, rows, positions, d_model] */
  #cutHeads(t: Tensor): Tensor {
    const { rows, tokens } = this.#extent;
    const [heads, , d_model] = t.shape as [number, number, number];
    const view = tf.reshape(t, [heads * rows, tokens, d_model]);
    return tf.reshape(cutPadding(view, "", this.#chunk), [3, heads / 3, rows, this.#chunk.real, d_model]);
  }

  /** As activations are seen: [rows, tokens, ...], patterns [rows, heads, query, key]. */
  #viewed(name: string, t: Tensor): Tensor {
    const { rows, tokens } = this.#extent;
    const pattern = t.rank === 4 && /hook_(pattern|attn_scores)$/.test(name);
    return pattern ? t : tf.reshape(t, [rows, tokens, ...t.shape.slice(1)]);
  }
}

/** Makes a step within a tidy, and keeps its tensors beyond it; each is one of its own. */
function keeping(make: () => Advance): Advance {
  let next: Advance | undefined;
  tf.tidy(() => {
    next = make();
    const { gradient, step } = next;
    for (const t of [gradient, step.resid, ...step.gradients.values(), ...Object.values(step.inputs ?? {})]) tf.keep(t);
  });
  return next!;
}
