import type { Tensor } from "@tensorflow/tfjs";
import type { Activations } from "../common/words.ts";
import type { OpAttr } from "../runtime/native.ts";
import { type Handle, native } from "../runtime/ops.ts";
import { formatCode, formatOf, ROW_ORDER } from "./formats.ts";
import { attributesOf, numberOf, runKernel } from "./op.ts";
import { PackedMatrix } from "./packed-matrix.ts";
import { MOST_WIDTH } from "./pages.ts";
import type { Places } from "./places.ts";

/** Norms in the order of the kernels' numbers. */
const NORMS = [null, "RMS", "LN"] as const;

/** Activations by name, with the kernels' numbers. */
const ACT_FNS = { silu: 0, relu: 1, gelu: 2, quick_gelu: 3, gelu_new: 4, gelu_pytorch_tanh: 4 } as const;

/**
 * Weights in the order of the kernel's bits and lists. Matrices are [out, in], biases [out] of theirs, a norm is its factor and its offset
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

/** One of several blocks that follow each other. */
export interface BlockWork {
  readonly weights: KernelWeights;
  /** Attention is local: the block takes the rotation of such layers. */
  readonly local?: boolean | undefined;
}

/** Cosines and sines [sequences · tokens, 1, rotary], halves alike. */
export interface RotationTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** Tokens that go through blocks, and their places. */
export interface BlocksCall extends Places {
  /** Residual stream before the first block [sequences · tokens, d_model]. */
  readonly x: Tensor;
  /** Absent where the blocks do not rotate. */
  readonly rotation?: RotationTables | undefined;
  /** Of blocks with local attention, where some are. */
  readonly localRotation?: RotationTables | undefined;
  /** int32 [sequences, tokens]: a query sees positions up to its own. */
  readonly positions: Tensor;
  /** int32 [blocks]: the layers of `lists` and `slots`. */
  readonly layers: Tensor;
  /** int32 [layers, sequences · tokens, KV heads, 2], from `slotsOf`: where the new keys and values go. */
  readonly slots: Tensor;
  /** Default "exact". */
  readonly activations?: Activations | undefined;
}

/** Says that the kernel takes blocks of a shape. */
export function takesBlock({ width }: BlockShape): boolean {
  return width <= MOST_WIDTH;
}

/** Attributes of a call by precision. */
type Attrs = Readonly<Record<Activations, readonly OpAttr[]>>;

/** Whole blocks of a transformer as one kernel: for a few tokens where nobody looks into them. */
export class KernelBlocks {
  readonly #blocks: number;
  readonly #shape: BlockShape;
  readonly #works: readonly BlockWork[];
  /** In the kernel's order: those in floats, then those in codes. */
  readonly #weights: readonly Handle[];
  /** Their numbers, once the weights are where kernels read them. */
  #numbers: readonly number[] | undefined;
  readonly #attrs = new Map<string, Attrs>();

  constructor(shape: BlockShape, works: readonly BlockWork[]) {
    const all = works.flatMap(({ weights }) => WEIGHTS.flatMap((name) => weights[name] ?? []));
    const floats = all.flatMap((weight) => (weight instanceof PackedMatrix ? [] : weight));
    const packed = all.flatMap((weight) => (weight instanceof PackedMatrix ? weight.tiles : []));
    this.#blocks = works.length;
    this.#shape = shape;
    this.#works = works;
    this.#weights = [...floats, ...packed];
  }

  /**
   * Keeps the tokens' keys and values in their slots, attends, and computes the rest of each block.
   * @returns residual stream behind the last block [sequences · tokens, d_model]
   * @throws HeadscopeError (usage) for what does not fit
   */
  run(call: BlocksCall): Tensor {
    return this.#run(call, 0)[0]!;
  }

  /**
   * `run` with the patterns of the attention.
   * @returns the stream, and by block its pattern [sequences · tokens, heads, positions up to the last query's]: 0 where a head holds nothing
   */
  runWithPatterns(call: BlocksCall): { x: Tensor; patterns: Tensor[] } {
    const [x, ...patterns] = this.#run(call, this.#blocks);
    return { x: x!, patterns };
  }

  #run(call: BlocksCall, looks: number): Tensor[] {
    const { x, positions, layers, lists, spans, slots, activations = "exact" } = call;
    const turns = [call.rotation, call.localRotation].flatMap((tables) => (tables ? [tables.cos, tables.sin] : []));
    this.#numbers ??= this.#weights.map(numberOf);
    const inputs = [x, positions, layers, lists, spans, slots, ...turns, ...this.#numbers];
    const attrs = this.#attrsOf(turns.length, looks)[activations];
    return runKernel("HsBlocks", attrs, inputs, 1 + looks).map((made) => native().createOutputTensor(made));
  }

  /** @param turns tensors of rotations @param looks patterns that are wanted */
  #attrsOf(turns: number, looks: number): Attrs {
    const key = `${turns} ${looks}`;
    const known = this.#attrs.get(key);
    if (known) return known;
    const {
      heads,
      kvHeads,
      width,
      rotary,
      mlp,
      norm,
      act,
      gated,
      parallel,
      normsAll,
      eps,
      scale,
      cap = 0,
    } = this.#shape;
    const matrices = this.#works.flatMap(({ weights }) => MATRICES.map((name) => weights[name]));
    const codes = matrices.filter((m) => m instanceof PackedMatrix).length;
    const attrs = (activations: Activations): OpAttr[] =>
      attributesOf({
        ...{ turns, looks, floats: this.#weights.length - codes, codes },
        sizes: [
          ...[heads, kvHeads, width, rotary, mlp, NORMS.indexOf(norm), ACT_FNS[act]],
          ...[gated, parallel, normsAll, activations === "8bit"].map(Number),
        ],
        formats: matrices.map((m) => (m instanceof PackedMatrix ? formatCode(formatOf(m.format)) : ROW_ORDER)),
        has: this.#works.map(({ weights }) =>
          WEIGHTS.reduce((bits, name, i) => bits + (weights[name] ? 2 ** i : 0), 0),
        ),
        local: this.#works.map(({ local }) => Number(local === true)),
        eps: { float: eps },
        scale: { float: scale },
        cap: { float: cap },
      });
    const made = { exact: attrs("exact"), "8bit": attrs("8bit") };
    this.#attrs.set(key, made);
    return made;
  }
}
