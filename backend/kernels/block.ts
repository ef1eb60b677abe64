import type { Tensor } from "@tensorflow/tfjs";
import type { Activations } from "../common/words.ts";
import type { OpAttr } from "../runtime/native.ts";
import { type Handle, native } from "../runtime/ops.ts";
import { formatCode, formatOf, ROW_ORDER } from "./formats.ts";
import { attributesOf, runKernel } from "./op.ts";
import { PackedMatrix } from "./packed-matrix.ts";
import { MOST_WIDTH } from "./pages.ts";
import type { Places } from "./places.ts";

/** Norms in the order of the kernels' numbers. */
const NORMS = [null, "RMS", "LN"] as const;

/** Activations by name, with the kernels' numbers. */
const ACT_FNS = { silu: 0, relu: 1, gelu: 2, quick_gelu: 3, gelu_new: 4, gelu_pytorch_tanh: 4 } as const;

/**
 * Weights in the order of the kernel's inputs. Matrices are [out, in], biases [out] of theirs, a norm is its factor and its offset
 * [d_model], those of queries and keys [d_head] or [heads · d_head].
 */
const WEIGHTS = [
  "ln1", "ln1Offset", "qkv", "qkvBias", "qNorm", "kNorm", "o", "oBias", "ln1Post", "ln1PostOffset",
  "ln2", "ln2Offset", "mlpIn", "mlpInBias", "mlpOut", "mlpOutBias", "ln2Post", "ln2PostOffset",
] as const; // biome-ignore format: a table
const MATRICES = ["qkv", "o", "mlpIn", "mlpOut"] as const;

/** A weight of a block by the kernel's name. */
export type KernelWeight = (typeof WEIGHTS)[number];
type MatrixName = (typeof MATRICES)[number];

/** A matrix [out, in]: packed, or float32 as it lies. */
export type KernelMatrix = PackedMatrix | Tensor;

/** The weights of a block; what it lacks is absent. */
export type KernelWeights = { readonly [N in Exclude<KernelWeight, MatrixName>]?: Tensor } & {
  readonly [N in MatrixName]?: KernelMatrix;
};

/** The shape of a block and the ways in which it computes. */
export interface BlockShape {
  readonly heads: number;
  readonly kvHeads: number;
  /** Width of a head. */
  readonly width: number;
  /** Leading numbers of a head that are rotated, halves paired; 0 for none. */
  readonly rotary: number;
  /** Neurons of the MLP; 0 without one. */
  readonly mlp: number;
  readonly norm: (typeof NORMS)[number];
  readonly act: keyof typeof ACT_FNS;
  /** The MLP's first matrix has the gate's rows, then the linear ones. */
  readonly gated: boolean;
  /** Attention and MLP both read the stream before the block. */
  readonly parallel: boolean;
  /** Norms of queries and keys are over all heads together, else over each. */
  readonly normsAll: boolean;
  readonly eps: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Scores become cap · tanh(score / cap); default none. */
  readonly cap?: number | undefined;
}

/** Tokens that go through a block, and their places. */
export interface BlockCall extends Places {
  /** Residual stream before the block [sequences · tokens, d_model]. */
  readonly x: Tensor;
  /** Cosines and sines [sequences · tokens, 1, rotary], halves alike; where the block rotates. */
  readonly rotation?: { readonly cos: Tensor; readonly sin: Tensor } | undefined;
  /** int32 [sequences, tokens]: a query sees positions up to its own. */
  readonly positions: Tensor;
  /** int32 scalar: the layer of `lists` and `slots`. */
  readonly layer: Tensor;
  /** int32 [layers, sequences · tokens, KV heads, 2], from `slotsOf`: where the new keys and values go. */
  readonly slots: Tensor;
  /** Default "exact". */
  readonly activations?: Activations | undefined;
}

/** Says that the kernel takes blocks of a shape. */
export function takesBlock({ width }: BlockShape): boolean {
  return width <= MOST_WIDTH;
}

/** A whole block of a transformer as one kernel: for a few tokens where nobody looks into it. */
export class KernelBlock {
  readonly #weights: readonly (Handle | undefined)[];
  readonly #attrs: Readonly<Record<Activations, readonly OpAttr[]>>;
  /** The same for calls with a pattern. */
  readonly #looking: Readonly<Record<Activations, readonly OpAttr[]>>;

  constructor(shape: BlockShape, weights: KernelWeights) {
    const { heads, kvHeads, width, rotary, mlp, norm, act, gated, parallel, normsAll, eps, scale, cap = 0 } = shape;
    const tensorOf = (weight?: KernelMatrix) => (weight instanceof PackedMatrix ? weight.tiles : weight);
    this.#weights = WEIGHTS.map((name) => tensorOf(weights[name]));
    const matrices = MATRICES.map((name) => weights[name]);
    const types = matrices.map((m) => ({ type: m instanceof PackedMatrix ? "uint8" : "float32" }) as const);
    const attrs = (activations: Activations, looks: number): OpAttr[] =>
      attributesOf({
        looks,
        sizes: [
          ...[heads, kvHeads, width, rotary, mlp, NORMS.indexOf(norm), ACT_FNS[act]],
          ...[gated, parallel, normsAll, activations === "8bit"].map(Number),
        ],
        formats: matrices.map((m) => (m instanceof PackedMatrix ? formatCode(formatOf(m.format)) : ROW_ORDER)),
        has: WEIGHTS.reduce((bits, name, i) => bits + (weights[name] ? 2 ** i : 0), 0),
        eps: { float: eps },
        scale: { float: scale },
        cap: { float: cap },
        ...{ T_qkv: types[0]!, T_o: types[1]!, T_in: types[2]!, T_out: types[3]! },
      });
    this.#attrs = { exact: attrs("exact", 0), "8bit": attrs("8bit", 0) };
    this.#looking = { exact: attrs("exact", 1), "8bit": attrs("8bit", 1) };
  }

  /**
   * Keeps the tokens' keys and values in their slots, attends, and computes the rest of the block.
   * @returns residual stream behind it [sequences · tokens, d_model]
   * @throws HeadscopeError (usage) for what does not fit
   */
  run(call: BlockCall): Tensor {
    return this.#run(call, this.#attrs, 1)[0]!;
  }

  /**
   * `run` with the pattern of the attention.
   * @returns the stream, and the pattern [sequences · tokens, heads, positions up to the last query's]: 0 where a head holds nothing
   */
  runWithPattern(call: BlockCall): { x: Tensor; pattern: Tensor } {
    const [x, pattern] = this.#run(call, this.#looking, 2);
    return { x: x!, pattern: pattern! };
  }

  #run(call: BlockCall, attrs: Readonly<Record<Activations, readonly OpAttr[]>>, outputs: number): Tensor[] {
    const { x, rotation, positions, layer, lists, spans, slots, activations = "exact" } = call;
    const { cos = x, sin = x } = rotation ?? {};
    const weights = this.#weights.map((weight) => weight ?? x); // what is not there is not read
    const inputs = [x, cos, sin, positions, layer, lists, spans, slots, ...weights];
    return runKernel("HsBlock", attrs[activations], inputs, outputs).map((made) => native().createOutputTensor(made));
  }
}
