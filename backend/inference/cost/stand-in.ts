import type { Tensor } from "@tensorflow/tfjs";
import { type FormatName, formatOf, TILE } from "../../kernels/formats.ts";
import { PackedMatrix } from "../../kernels/packed-matrix.ts";
import type { KvCache } from "../../models/cache/kv-cache.ts";
import type { ModelConfig } from "../../models/config.ts";
import { Model } from "../../models/model.ts";
import { Matrix } from "../../models/weights/matrix.ts";
import { parameterLayout, weightsOver } from "../../models/weights/trainable.ts";
import { uploadBytes } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";

/** Width, and vocabulary, of a model whose matrices cost nothing. */
export const NARROW = 64;

/** A part of a stand-in. */
interface Size {
  readonly n_layers: number;
  readonly n_ctx: number;
  /** Token ids and logits; default the model's. */
  readonly vocabulary?: number;
}

/**
 * A model of another's shapes and forms with made weights: it takes the time of the other. All of its layers reach every position.
 * @param formOf gives a matrix's form by its name in `slotsOf`
 */
export function standIn(config: ModelConfig, size: Size, formOf: (name: string) => FormatName): Model {
  const { n_layers, n_ctx, vocabulary } = size;
  const own: ModelConfig = {
    ...config,
    ...{ n_layers, n_ctx, attn_types: new Array<"global">(n_layers).fill("global") },
    ...(vocabulary && { d_vocab: vocabulary, ...(config.d_vocab_out && { d_vocab_out: vocabulary }) }),
  };
  const weights = weightsOver(own, parameterLayout(own), ({ name, kind, shape }) => {
    const [rows, width] = shape as [number, number];
    const form = kind === "matrix" && width % TILE.inputs === 0 ? formOf(name) : "f32";
    return form === "f32" ? tf.randomNormal([...shape], 0, 0.02) : packedMatrix(form, [rows, width]);
  });
  return new Model({ ref: "calibration", family: "none", digest: `sha256:${"0".repeat(64)}`, config: own, weights });
}

/** A matrix of one number: the time of a product does not depend on them. */
function packedMatrix(format: FormatName, shape: readonly [number, number]): Matrix {
  const [rows, width] = shape;
  const { block = 32, minima, rowsOf, bits, zero = 0 } = formatOf(format);
  if (rowsOf !== undefined && bits > 8)
    return Matrix.fromPacked(PackedMatrix.fromRows(format, new Uint8Array((rows * width * bits) / 8), shape));
  const codes = uploadBytes(new Uint8Array(rows * width).fill(1), [rows, width]);
  const scales = tf.fill([rows, width / block], 1 / 128);
  try {
    const coded = { codes, scales, minima: minima ? scales : undefined, zero };
    return Matrix.fromPacked(PackedMatrix.fromCodes(format, coded, shape));
  } finally {
    codes.dispose();
    scales.dispose();
  }
}

/** Writes random numbers to all rows that a cache's first sequence holds: of rows that were never written all of the memory is one page of zeros. */
export function fillCache(cache: KvCache): void {
  cache.windows.forEach((heads, layer) => {
    for (const head of heads.keys()) {
      const positions = cache.positions(layer, 0, head);
      tf.tidy(() => {
        const { shape } = cache.read(layer, 0, head).keys;
        const [keys, values] = [1, 2].map((seed) => tf.randomNormal(shape, 0, 1, "float32", seed)) as [Tensor, Tensor];
        cache.write({ layer, row: 0, head }, positions, { keys, values });
      });
    }
  });
}
