import type { Tensor } from "@tensorflow/tfjs";
import { gatherRows, hasNative, sumRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { cutPadding, sliceAffine, withoutPadding } from "../forward/chunks.ts";
import { logitPositions } from "../forward/ends.ts";
import { runStage } from "../forward/stage.ts";
import { unembed, unembedAt } from "../transformer/block.ts";
import { blockHook } from "../transformer/hook-points.ts";
import { flattenEnd, widenBlock } from "../weights/weights.ts";
import { blockGradients } from "./block-gradients.ts";
import { BackwardContext } from "./context.ts";
import { chosenOutputs, type LogitGradient } from "./logit-gradient.ts";
import type { BackwardStep } from "./step.ts";
import type { StoredRun } from "./stored-run.ts";
import { type GradientHook, gradientFunctions, tapAt, tapped, vectorJacobian } from "./taps.ts";

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

/** One backward pass under way. */
export class BackwardPass {
  readonly #run: StoredRun;
  readonly #context: BackwardContext;

  constructor(run: StoredRun, functions: ReadonlyMap<string, readonly GradientHook[]>) {
    this.#run = run;
    this.#context = new BackwardContext(run, functions);
  }

  /** Back through the final norm and the unembedding. @param names of the final norm */
  end(dLogits: LogitGradient, names: readonly string[]): Advance {
    const context = this.#context;
    const { model, streams, logits, input } = this.#run;
    const { config, weights } = model;
    const [rows, count, outputs] = logits.shape as [number, number, number];
    const extent = { rows, tokens: count };
    const everywhere = input.logitsAt === "all";
    return keeping(() => {
      const index = tf.tensor1d(this.#wantedRows(), "int32");
      const total = this.#context.chunk.real;
      const x = gatherRows(tf.reshape(streams.at(-1)!, [rows * total, config.d_model]), index);
      const chosen = chosenOutputs(dLogits);
      const dense = !chosen && weights.unembed.narrow ? weights.unembed.widen() : undefined;
      const { out } = runStage({
        key: `backward end|${model.key}|${names.join("+")}${chosen ? "|chosen" : ""}`,
        extent,
        tensors: chosen ? [x, chosen.values, chosen.ids] : [x, tf.reshape(dLogits as Tensor, [rows * count, outputs])],
        weights: flattenEnd(weights, dense ? weights.unembed.dense(dense) : weights.unembed),
        requests: context.endRequests(),
        // A few outputs are a few rows of the unembedding, which are not worth compiling.
        xla: hasNative() && !chosen,
        captured: context.captured,
        body: ([x, dy, ids], w, hook) => {
          const behind = new Map(names.map((name) => [name, tapAt(config, name, extent)]));
          const taps = { behind, before: new Map(), functions: context.functionsAt("", extent) };
          const logits = (x: Tensor): Tensor =>
            ids ? unembedAt({ x, ids }, w, config, tapped(hook, taps)) : unembed(x, w, config, tapped(hook, taps));
          return vectorJacobian(logits, [x!, ...behind.values()], dy!);
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
      return {
        gradient: this.#context.padded(resid),
        step: { layer: config.n_layers, resid, gradients: new Map(gradients) },
      };
    });
  }

  /** Back through a layer. @param dy gradient with respect to the stream behind it [rows * tokens, d_model] */
  layer(layer: number, dy: Tensor, { names, inputs }: LayerWants): Advance {
    const { model, streams, firstLayer } = this.#run;
    const narrow = model.weights.blocks[layer]!;
    const wide = widenBlock(narrow); // gradients go through float32
    const weights = wide?.block ?? narrow;
    try {
      return keeping(() => {
        const x = this.#context.padded(streams[layer - firstLayer]!);
        const block = { layer, x, dy, weights };
        const named = names.length > 0 || !inputs ? blockGradients(this.#context, block, names) : undefined;
        const split = inputs ? blockGradients(this.#context, block, "inputs") : undefined;
        const dx = (named ?? split)!.x;
        const gradients = names.map((name, i): [string, Tensor] => [
          blockHook(layer, name),
          cutPadding(this.#context.viewed(name, named!.names[i]!), name, this.#context.chunk),
        ]);
        return {
          gradient: this.#throughStart(layer, dx),
          step: {
            layer,
            resid: this.#context.cut(dx),
            gradients: new Map(gradients),
            ...(split
              ? {
                  inputs: {
                    heads: this.#cutHeads(split.heads!),
                    ...(split.mlp ? { mlp: this.#context.cut(split.mlp) } : {}),
                  },
                }
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
    return ["hook_embed", "hook_pos_embed"].some((name) => this.#context.functions.has(name));
  }

  /** The gradient at the embeddings, which the stream before the first layer is the sum of. */
  embeddings(dx: Tensor, names: readonly string[]): Advance {
    return keeping(() => {
      const resid = this.#context.cut(dx);
      const watched = ["hook_embed", "hook_pos_embed"].map((name): [string, Tensor] => {
        const functions = gradientFunctions(this.#context.functions.get(name) ?? [], name, this.#context.extent);
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
    this.#context.dispose();
  }

  /** The gradient before the interventions at a layer's first hook point. @param dx [rows * tokens, d_model] */
  #throughStart(layer: number, dx: Tensor): Tensor {
    const name = blockHook(layer, "hook_resid_pre");
    const affine = this.#run.interventions.get(name);
    const change = affine && sliceAffine(affine, name, this.#context.chunk, { starts: this.#context.starts });
    if (!change) return tf.clone(dx);
    const { rows, tokens } = this.#context.extent;
    return tf.reshape(tf.mul(tf.reshape(dx, [rows, tokens, -1]), change.gain), dx.shape);
  }

  /** Rows of the flat stream [rows * positions] whose logits are wanted. */
  #wantedRows(): number[] {
    const { lengths, input } = this.#run;
    const total = this.#context.chunk.real;
    return lengths.flatMap((length, row) =>
      logitPositions(input.logitsAt ?? "last", length, { row, total }).map((position) => row * total + position),
    );
  }

  /** [3 * heads, rows * tokens, d_model] -> [3, heads, rows, positions, d_model] */
  #cutHeads(t: Tensor): Tensor {
    const { rows, tokens } = this.#context.extent;
    const [heads, , d_model] = t.shape as [number, number, number];
    const view = tf.reshape(t, [heads * rows, tokens, d_model]);
    return tf.reshape(cutPadding(view, "", this.#context.chunk), [
      3,
      heads / 3,
      rows,
      this.#context.chunk.real,
      d_model,
    ]);
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
