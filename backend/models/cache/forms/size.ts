import { bitsOf } from "../../../kernels/coding.ts";
import type { ModelConfig } from "../../config.ts";
import type { CacheForm } from "./form.ts";
import { outliersOf } from "./kvquant.ts";

/** Numbers in a vector of the kernels, and bytes at whose multiples the parts of a page begin. */
const [LANES, LINE] = [16, 64] as const;

/**
 * Bytes of a whole page of codes, as the kernels lay it out: `arrange` of native/attention/coded.cc.
 * @param page its number in its KV head, and its rows, a multiple of 128
 */
export function codedPageBytes(form: CacheForm, config: ModelConfig, page: { number: number; rows: number }): number {
  const { d_head: width } = config;
  const { rows } = page;
  const padded = LANES * Math.ceil(width / LANES);
  const learned = form.kind === "kvquant";
  const bits = form.kind === "minifloat" ? bitsOf({ book: "floats", format: form.format }) : form.bits;
  const low = bits === 3 ? 2 : bits === 6 ? 4 : bits;
  const first = learned && page.number === 0 ? 1 : 0;
  const sides = [
    // Keys: a scale for each channel of some tokens; values: for each token's channels.
    { groups: learned ? 1 : rows / form.group, along: padded, vectors: width, length: rows - first },
    { groups: learned ? 1 : Math.ceil(width / form.group), along: rows, vectors: rows, length: width },
  ];
  const bytes = sides.map(({ groups, along, vectors, length }) => {
    const codes = lines((rows * padded * low) / 8) + lines((rows * padded * (bits - low)) / 8);
    const scales = lines((form.kind === "minifloat" ? 4 : 2) * (groups * along + LANES));
    const outliers = learned ? 2 * groups * vectors * outliersOf(form.outliers, length) : 0;
    const scaled = form.kind === "minifloat" ? scales : 2 * scales;
    return codes + scaled + lines(2 * outliers) + lines(4 * outliers) + lines(4 * first * padded);
  });
  const positions = learned && config.positional_embedding_type === "rotary" ? lines(4 * rows) : 0;
  return bytes.reduce((sum, side) => sum + side, positions);
}

function lines(bytes: number): number {
  return LINE * Math.ceil(bytes / LINE);
}
