import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { Random } from "../../common/random.ts";
import type { Model } from "../../models/model.ts";
import { requireSoftmax } from "../../models/transformer/kernels/index.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { update } from "../optimiser.ts";
import type { AdamParams, GateMethod, TrainedPart } from "./method.ts";

/** A training as it can be put away and taken up again. */
export interface GateState {
  /** Steps that were done. */
  readonly step: number;
  /** All trained numbers, layer after layer, part after part, and Adam's two moments of each. */
  readonly vectors: readonly [Float32Array, Float32Array, Float32Array];
  /** Losses by step. */
  readonly curve: readonly GateLosses[];
}

/** Losses of a step, by name. */
export type GateLosses = Readonly<Record<string, number>>;

/** A part of a layer with its numbers. */
export interface TrainedTensor {
  readonly layer: number;
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

const ADAM: AdamParams = { beta1: 0.9, beta2: 0.999, adam_epsilon: 1e-8, weight_decay: 0 };

/** A training of a policy's numbers, step by step. The model stays the caller's. */
export class GateTraining {
  readonly steps: number;
  readonly params: Record<string, unknown>;
  readonly #model: Model;
  readonly #method: GateMethod;
  readonly #seed: number;
  readonly #parts: readonly TrainedPart[];
  #step = 0;
  #curve: GateLosses[] = [];
  /** The numbers and Adam's moments [1, all] each. */
  #vectors: Tensor[];

  /** @throws HeadscopeError (usage) for parameters that do not fit the model */
  constructor(model: Model, method: GateMethod, given: Record<string, unknown>, seed: number) {
    requireSoftmax(model.config, `the training of ${method.name}`);
    this.#model = model;
    this.#method = method;
    this.#seed = seed;
    this.params = method.adapt(model.config, given);
    this.steps = method.steps(this.params);
    this.#parts = method.parts(model.config, this.params);
    const random = new Random(seed, 1);
    const initial = Float32Array.from(
      this.#places().flatMap(({ part, size }) => Array.from({ length: size }, () => part.initial(random))),
    );
    this.#vectors = [initial, new Float32Array(initial.length), new Float32Array(initial.length)].map(rowOf);
  }

  /** Steps that are done. */
  get step(): number {
    return this.#step;
  }

  /** Losses by step. */
  get curve(): readonly GateLosses[] {
    return this.#curve;
  }

  /** Does the next step. @throws HeadscopeError (unsupported) for a loss that is no number, and what `turn` throws */
  async advance(turn: Turn = loopTurn()): Promise<GateLosses> {
    const gates = this.#gates();
    try {
      const { losses, gradients } = await this.#method.gradients({
        model: this.#model,
        params: this.params,
        gates,
        step: this.#step,
        seed: this.#seed,
        turn,
      });
      try {
        const odd = Object.entries(losses).find(([, value]) => !Number.isFinite(value));
        if (odd)
          throw new HeadscopeError("unsupported", `the ${odd[0]} loss is no number at step ${this.#step + 1}`, {
            remedy: "lower the learning rate",
          });
        this.#update(gradients.flat());
      } finally {
        tf.dispose(gradients as Tensor[][]);
      }
      this.#curve.push(losses);
      this.#step++;
      return losses;
    } finally {
      tf.dispose(gates);
    }
  }

  /** Puts the training as it stands into numbers, which `restore` takes. */
  state(): GateState {
    const [numbers, first, second] = this.#vectors.map((t) => t.dataSync() as Float32Array);
    return { step: this.#step, vectors: [numbers!, first!, second!], curve: [...this.#curve] };
  }

  /** Goes on where another training of the same parameters was. */
  restore({ step, vectors, curve }: GateState): void {
    tf.dispose(this.#vectors);
    this.#vectors = vectors.map(rowOf);
    this.#step = step;
    this.#curve = [...curve];
  }

  /** The trained numbers. */
  tensors(): TrainedTensor[] {
    const all = this.#vectors[0]!.dataSync() as Float32Array;
    return this.#places().map(({ layer, part: { name, shape }, offset, size }) => {
      return { layer, name, shape, values: all.slice(offset, offset + size) };
    });
  }

  dispose(): void {
    tf.dispose(this.#vectors);
  }

  /** By layer its parts, as tensors of their own. */
  #gates(): Tensor[][] {
    const byLayer = Array.from({ length: this.#model.config.n_layers }, (): Tensor[] => []);
    for (const { layer, part, offset, size } of this.#places())
      byLayer[layer]!.push(
        tf.tidy(() => tf.reshape(tf.slice(this.#vectors[0]!, [0, offset], [1, size]), [...part.shape])),
      );
    return byLayer;
  }

  #update(gradients: readonly Tensor[]): void {
    const { adam, range } = this.#method;
    const constants = { optimiser: "adamw", momentum: 0, ...ADAM, ...adam } as const;
    const rate = this.#method.learningRate(this.params, this.#step);
    const count = this.#step + 1;
    const next = tf.tidy(() => {
      const scalars = tf.tensor1d([rate, 1 - constants.beta1 ** count, 1 - constants.beta2 ** count]);
      const flat = tf.concat(gradients.map((g) => tf.reshape(g, [1, -1])) as Tensor[], 1);
      const [numbers, ...state] = this.#vectors as [Tensor, ...Tensor[]];
      const [moved, ...moments] = update(constants, { parameters: numbers, gradients: flat, state, scalars });
      return [range ? tf.clipByValue(moved!, ...range) : moved!, ...moments];
    });
    tf.dispose(this.#vectors);
    this.#vectors = next;
  }

  /** Places of all parts in the vector of all numbers. */
  #places(): { layer: number; part: TrainedPart; offset: number; size: number }[] {
    let offset = 0;
    return Array.from({ length: this.#model.config.n_layers }, (_, layer) =>
      this.#parts.map((part) => {
        const size = part.shape.reduce((product, length) => product * length, 1);
        offset += size;
        return { layer, part, offset: offset - size, size };
      }),
    ).flat();
  }
}

function rowOf(values: Float32Array): Tensor {
  return tf.tensor2d(values, [1, values.length]);
}
