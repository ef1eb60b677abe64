/** A tensor of a safetensors file, widened to f32. */
export interface Tensor {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Reads a safetensors file of F32 and F16 tensors.
 * @returns in the order of the header
 * @throws Error for what is no such file
 */
export function readSafetensors(buffer: ArrayBuffer): Tensor[] {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, { dtype, shape, data_offsets }]) => {
      const part = buffer.slice(8 + length + data_offsets[0], 8 + length + data_offsets[1]);
      if (dtype === "F32") return { name, shape, data: new Float32Array(part) };
      if (dtype === "F16") return { name, shape, data: widen(new Uint16Array(part)) };
      throw new Error(`tensor ${name} has the dtype ${dtype}, which is not read here`);
    });
}

const WIDE = new Float32Array(65536);
let filled = false;

/** Half precision to single, by a table of all 65,536 values. */
function widen(half: Uint16Array): Float32Array {
  if (!filled) {
    for (let bits = 0; bits < 65536; bits++) WIDE[bits] = value(bits);
    filled = true;
  }
  return Float32Array.from(half, (bits) => WIDE[bits]!);
}

function value(bits: number): number {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
