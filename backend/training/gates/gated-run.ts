import type { Tensor } from "@tensorflow/tfjs";
import { vectorJacobian } from "../../models/backward/taps.ts";
import { localWindow } from "../../models/config.ts";
import { runStage, type StageRequests } from "../../models/forward/stage.ts";
import type { Model } from "../../models/model.ts";
import type { Rotation } from "../../models/transformer/block.ts";
import { UNHOOKED } from "../../models/transformer/hook.ts";
import type { BlockWeights } from "../../models/weights/block-parts.ts";
import { flatten, widenBlock } from "../../models/weights/weights.ts";
import { hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { type GatedAttention, type GatedTokens, gatedBlock } from "./gated-block.ts";

const NO_REQUESTS: StageRequests = { wanted: [], affine: new Map(), hooks: new Map() };

/** A model with gates in its attention, at work on rows of one length. */
export interface GatedRunOptions {
  readonly model: Model;
  readonly attention: GatedAttention;
  /** By layer its trained tensors; they stay the caller's. */
  readonly gates: readonly (readonly Tensor[])[];
  readonly rows: number;
  readonly positions: number;
  /** 1 for tokens of the prompt, 0 for those behind it [positions]; it stays the caller's. Default none. */
  readonly prompt?: Tensor | undefined;
  /** Lets others in between two layers. */
  readonly turn?: Turn | undefined;
}

/**
 * A run of a model through gates, and the way back to them. The weights are frozen: gradients reach the stream and the gates alone.
 * Memory is one stream a layer and one block: each block is computed again on the way back.
 */
export class GatedRun {
  readonly #options: GatedRunOptions;
  readonly #turn: Turn;
  /** Streams before each layer, and behind the last [rows * positions, d_model]. */
  readonly #streams: Tensor[] = [];
  /** Cosines and sines of layers of either kind, made when first needed. */
  readonly #rotations = new Map<boolean, Rotation | undefined>();
  #penalty = 0;

  constructor(options: GatedRunOptions) {
    this.#options = options;
    this.#turn = options.turn ?? loopTurn();
  }

  /** Sum of the layers' penalties. */
  get penalty(): number {
    return this.#penalty;
  }

  /** The stream behind the last layer [rows * positions, d_model], which stays the run's. */
  get end(): Tensor {
    return this.#streams.at(-1)!;
  }

  /** Runs all blocks. @param start stream before the first one [rows * positions, d_model]; it stays the caller's */
  async forward(start: Tensor): Promise<void> {
    this.#streams.push(tf.keep(tf.clone(start)));
    for (let layer = 0; layer < this.#options.gates.length; layer++) {
      await this.#turn();
      const [y, penalty] = this.#block(layer, [this.#streams[layer]!]) as [Tensor, Tensor?];
      this.#streams.push(y);
      this.#penalty += penalty?.dataSync()[0] ?? 0;
      penalty?.dispose();
    }
  }

  /**
   * Goes back through all blocks.
   * @param end gradient with respect to the stream behind the last one; it stays the caller's
   * @returns by layer the gradients of its gates, the penalties' among them; the caller disposes them
   */
  async backward(end: Tensor): Promise<Tensor[][]> {
    const gradients: Tensor[][] = [];
    let dy = tf.clone(end);
    try {
      for (let layer = this.#options.gates.length - 1; layer >= 0; layer--) {
        await this.#turn();
        const [dx, ...own] = this.#block(layer, [this.#streams[layer]!, dy]) as [Tensor, ...Tensor[]];
        gradients.unshift(own);
        dy.dispose();
        dy = dx;
      }
      return gradients;
    } catch (error) {
      tf.dispose(gradients);
      throw error;
    } finally {
      dy.dispose();
    }
  }

  /** Frees the streams. */
  dispose(): void {
    tf.dispose(this.#streams.splice(0));
    for (const rotation of this.#rotations.values()) if (rotation) tf.dispose([rotation.cos, rotation.sin]);
    this.#rotations.clear();
  }

  /** A block forward, of its stream; or back through it, of the stream and the gradient behind it. */
  #block(layer: number, given: readonly [Tensor] | readonly [Tensor, Tensor]): Tensor[] {
    const { model, attention, gates, rows, positions, prompt } = this.#options;
    const { config } = model;
    const narrow = model.weights.blocks[layer]!;
    const wide = widenBlock(narrow); // gradients go through float32
    const own = gates[layer]!;
    const local = localWindow(config, layer);
    const rotation = this.#rotation(local !== undefined);
    const back = given.length === 2;
    const body = (tensors: Tensor[], weights: BlockWeights): Tensor[] => {
      const stream = tensors[0]!;
      const behind = tensors.slice(given.length);
      const trained = behind.slice(0, own.length);
      const context = prompt && behind[own.length];
      const [cos, sin] = behind.slice(own.length + (prompt ? 1 : 0));
      const turn = cos && sin ? { cos, sin } : undefined;
      const tokens: GatedTokens = { rows, positions, local, rotation: turn, prompt: context };
      const block = { weights, config, hook: UNHOOKED, attention };
      if (!back) {
        const { y, penalty } = gatedBlock(stream, trained, block, tokens);
        return penalty ? [y, penalty] : [y];
      }
      const dy = tensors[1]!;
      const loss = (x: Tensor, ...gates: Tensor[]): Tensor => {
        const { y, penalty } = gatedBlock(x, gates, block, tokens);
        const along = tf.sum(tf.mul(y, dy));
        return penalty ? tf.add(along, penalty) : along;
      };
      return vectorJacobian(loss, [stream, ...trained], tf.scalar(1));
    };
    try {
      const { out } = runStage({
        key: `gated ${back ? "backward" : "forward"}|${attention.key}|${model.key}|${local}`,
        extent: { rows, tokens: positions },
        tensors: [...given, ...own, ...(prompt ? [prompt] : []), ...(rotation ? [rotation.cos, rotation.sin] : [])],
        weights: flatten(wide?.block ?? narrow),
        requests: NO_REQUESTS,
        xla: hasNative(),
        captured: true,
        body,
      });
      return out;
    } finally {
      wide?.dispose();
    }
  }

  /** [rows * positions, 1, rotary_dim] */
  #rotation(local: boolean): Rotation | undefined {
    const { model, rows, positions } = this.#options;
    const own = local && model.config.rotary_local !== undefined;
    if (this.#rotations.has(own)) return this.#rotations.get(own);
    const tables = model.rotaryUpTo(positions, own);
    const tiled = (table: Tensor): Tensor =>
      tf.tidy(() => tf.expandDims(tf.tile(tf.slice(table, 0, positions), [rows, 1]), 1));
    const rotation = tables && { cos: tiled(tables.cos), sin: tiled(tables.sin) };
    this.#rotations.set(own, rotation);
    return rotation;
  }
}
