import type { WeightType } from "../../common/words.ts";
import { type FormatName, formatHolding, formatOf, packedBytes } from "../../kernels/formats.ts";
import { PackedMatrix } from "../../kernels/packed-matrix.ts";
import type { Part } from "../families/family.ts";
import { readPart, readPartNarrow, readPartStored, typesAsStored } from "../families/index.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { QUANTISATIONS } from "../formats/gguf/quantisation.ts";
import { f32ToBf16, halvesOf } from "../formats/half.ts";
import { Matrix } from "../weights/matrix.ts";

/** A way to hold a matrix: a format of the kernels, or without them bfloat16, codes of 8 bits, float32. */
type Held = { readonly packed: FormatName } | "bf16" | "codes" | "f32";

/** The wish and the means that decide how weights are held. */
export interface Holding {
  readonly weights: WeightType;
  /** There are kernels to pack for. */
  readonly kernels: boolean;
}

/** The way in which a part that is a matrix is held. */
function heldAs(checkpoint: Pick<Checkpoint, "tensors">, part: Part, { weights, kernels }: Holding): Held {
  if (weights === "bf16") return kernels ? { packed: "bf16" } : "bf16";
  const types = weights === "q8" ? typesAsStored(checkpoint, part) : undefined;
  if (!types) return "f32";
  if (!kernels) return types.every((type) => blocksOf(type)) ? "codes" : "f32";
  const packed = formatHolding(...types);
  return packed === undefined || packed === "f32" ? "f32" : { packed };
}

/** The kernels' form of a matrix; float32 where they don't hold it. */
export function heldFormat(checkpoint: Pick<Checkpoint, "tensors">, part: Part, holding: Holding): FormatName {
  const held = heldAs(checkpoint, part, holding);
  return typeof held === "object" ? held.packed : "f32";
}

/** The codes of a type; undefined of plain numbers. */
const blocksOf = (type: string) => QUANTISATIONS.find(({ name }) => name === type)?.narrow;

/** Bytes that a matrix of `shape` takes as it will be held. */
export function heldBytes(
  checkpoint: Pick<Checkpoint, "tensors">,
  part: Part,
  shape: readonly [number, number],
  holding: Holding,
): number {
  const held = heldAs(checkpoint, part, holding);
  const elements = shape[0] * shape[1];
  if (typeof held === "object") return packedBytes(held.packed, shape);
  if (held !== "codes") return (held === "bf16" ? 2 : 4) * elements;
  const kinds = typesAsStored(checkpoint, part)!.map((type) => blocksOf(type)!);
  const block = Math.min(...kinds.map((kind) => kind.block));
  return elements * (1 + (kinds.some(({ hasMin }) => hasMin) ? 8 : 4) / block);
}

/** Reads a matrix of a checkpoint. Throws as `Checkpoint.read` does. */
export async function readMatrix(
  checkpoint: Checkpoint,
  part: Part,
  shape: readonly [number, number],
  holding: Holding,
): Promise<Matrix> {
  const held = heldAs(checkpoint, part, holding);
  if (held === "f32") return Matrix.fromValues(await readPart(checkpoint, part), shape);
  const format = typeof held === "object" ? held.packed : undefined;
  if (held === "codes" || (format && isCoded(format))) {
    const type = format && formatOf(format).rowsOf;
    const rows = type && (await readPartStored(checkpoint, part, type));
    if (rows) return Matrix.fromPacked(PackedMatrix.fromRows(format, rows, shape));
    return Matrix.fromNarrow((await readPartNarrow(checkpoint, part))!, shape, format);
  }
  if (format === "f16")
    return Matrix.fromPacked(PackedMatrix.fromRows(format, (await readPartStored(checkpoint, part, "F16"))!, shape));
  const stored = await readPartStored(checkpoint, part, "BF16");
  return Matrix.fromBf16(stored ? halvesOf(stored) : f32ToBf16(await readPart(checkpoint, part)), shape);
}

const isCoded = (format: FormatName): boolean => formatOf(format).block !== undefined;
