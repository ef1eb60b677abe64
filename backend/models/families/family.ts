import { HeadscopeError } from "../../common/errors.ts";
import type { ModelConfig } from "../config.ts";
import { missingTensor } from "../formats/bytes.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { FLOATS, isFloat } from "../formats/safetensors/checkpoint.ts";

/** A permutation of a tensor's rows on reading: none, or GGUF's rotary interleaving undone over so many heads. */
export type Permutation = "none" | { readonly rotaryHeads: number };

/** One tensor of a part, changed in the order of the fields. */
export interface Piece {
  readonly tensor: string;
  /** Shape that the config demands of the tensor in the file, row-major. */
  readonly shape: readonly number[];
  /** The tensor is [in, out] (GPT-2's Conv1D): turned round to [out, in]. */
  readonly transpose?: true;
  /** Rows of the (transposed) tensor that make the piece, in order; all without it. */
  readonly rows?: readonly number[];
  /** Default "none". */
  readonly permute?: Permutation;
  /** Added to every weight, such as the 1 of Gemma's norms. */
  readonly add?: number;
}

/** A matrix or vector of the engine: its pieces, one under the other along rows. */
export type Part = readonly Piece[];

/** Parts by the names of `slotsOf` (weights/weights.ts). */
export type Parts = Readonly<Record<string, Part>>;

/** A family's models in one format. */
export interface Side {
  /** Names of architectures as the format spells them. */
  readonly architectures: readonly string[];
  /** The model's shape. Throws HeadscopeError "missing", "corrupt", "mismatch" or "unsupported". */
  config(checkpoint: Checkpoint): ModelConfig;
  /**
   * Gives the tensors of each part of the engine.
   * @param has tells whether the checkpoint holds a tensor: decides about biases that only some models have
   */
  parts(config: ModelConfig, has: (tensor: string) => boolean): Parts;
  /** Tensors that carry no weights and are left unread, beside those that every family ignores. */
  readonly ignored?: RegExp;
  /**
   * The model as a config.json describes it: the checkpoint's own, or its metadata translated.
   * @throws HeadscopeError "unsupported" for what config.json has no field for
   */
  configJson(checkpoint: Checkpoint): Readonly<Record<string, unknown>>;
}

/**
 * A checkpoint family gives a config from its metadata and the engine's parts from its tensors. Data and names only: no
 * family holds forward code. The parts are those of weights/weights.ts, and of every block those of
 * weights/block-parts.ts: `embed`, `blocks.0.attn.qkv`, `ln_final.w`; `unembed` is absent when tied. Rotary dimensions of
 * queries and keys are in half-split order.
 */
export interface Family {
  readonly name: string;
  /** Hugging Face's folders: config.json and safetensors. */
  readonly huggingFace: Side;
  /** GGUF files, where llama.cpp has the family. */
  readonly gguf?: Side;
}

/** A family's side for a format; undefined where the family has none. */
export function sideOf(family: Family, format: Checkpoint["format"]): Side | undefined {
  return format === "gguf" ? family.gguf : family.huggingFace;
}

/** Buffers that old checkpoints stored among their weights: causal masks and rotary frequencies. */
const BUFFERS = /(^|\.)(rotary_emb\.inv_freq|attn\.(masked_)?bias|attention\.(masked_)?bias)$/;

const shapeText = (shape: readonly number[]) => `[${shape.join(", ")}]`;

/**
 * Checks that a tensor is there in its shape.
 * @throws HeadscopeError "missing" or "mismatch", naming file, tensor, expected and found
 */
export function checkPiece(checkpoint: Checkpoint, { tensor, shape }: Pick<Piece, "tensor" | "shape">): void {
  const stored = checkpoint.tensors.get(tensor);
  if (stored === undefined) throw missingTensor(checkpoint.path, tensor);
  if (stored.shape.length !== shape.length || stored.shape.some((length, axis) => length !== shape[axis])) {
    const disagree = `is ${shapeText(stored.shape)}, and the config expects ${shapeText(shape)}`;
    throw new HeadscopeError("mismatch", `${checkpoint.path}: tensor "${tensor}" ${disagree}`, {
      remedy: "take weights and config from the same model",
    });
  }
}

/**
 * Checks that every tensor of every part is there in the shape that the config demands, and that no tensor is left over:
 * one that no part reads means that the model does more than its family.
 * @throws HeadscopeError "missing", "mismatch" or "unsupported", naming file, tensor, expected and found
 */
export function checkParts(checkpoint: Checkpoint, parts: Parts, ignored?: RegExp): void {
  const used = new Set<string>();
  for (const piece of Object.values(parts).flat()) {
    used.add(piece.tensor);
    checkPiece(checkpoint, piece);
    const { type } = checkpoint.tensors.get(piece.tensor)!;
    if (checkpoint.format === "safetensors" && !isFloat(type)) {
      throw new HeadscopeError(
        "unsupported",
        `${checkpoint.path}: tensor "${piece.tensor}" is ${type}; expected ${FLOATS.join(", ")}`,
        { remedy: "save the model's weights as floats" },
      );
    }
  }
  for (const [name, { type }] of checkpoint.tensors) {
    if (used.has(name) || BUFFERS.test(name) || ignored?.test(name)) continue;
    // Codes of a quantisation change nothing where every part has its weights as floats.
    if (checkpoint.format === "safetensors" && !isFloat(type)) continue;
    throw new HeadscopeError(
      "mismatch",
      `${checkpoint.path}: tensor "${name}" has no place in the model of its config`,
      { remedy: "take weights and config from the same model" },
    );
  }
}
