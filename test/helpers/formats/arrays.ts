const KINDS = [
  "ArrayBuffer", "Uint8Array", "Int8Array", "Uint16Array", "Int16Array", "Uint32Array", "Int32Array", "Float32Array",
  "Float64Array", "BigInt64Array", "BigUint64Array",
] as const; // biome-ignore format: a table

/**
 * Runs a call and watches what it allocates: the bytes of the largest typed array or buffer that it makes by its length.
 * An array over a buffer that is there already counts nothing.
 */
export async function largestArray<T>(call: () => Promise<T>): Promise<{ largest: number; result: T }> {
  const world = globalThis as unknown as Record<string, new (...args: unknown[]) => ArrayBufferView | ArrayBuffer>;
  const originals = new Map(KINDS.map((kind) => [kind, world[kind]!]));
  let largest = 0;
  for (const [kind, original] of originals) {
    const each = (original as unknown as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
    world[kind] = new Proxy(original, {
      construct(target, args: unknown[], newTarget) {
        if (typeof args[0] === "number") largest = Math.max(largest, args[0] * each);
        return Reflect.construct(target, args, newTarget) as object;
      },
    });
  }
  try {
    return { result: await call(), largest };
  } finally {
    for (const [kind, original] of originals) world[kind] = original;
  }
}
