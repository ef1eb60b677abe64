import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs with a file of the given bytes in a folder of its own. */
export async function withFile<T>(
  name: string,
  bytes: Uint8Array | string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "headscope-formats-"));
  try {
    await writeFile(join(folder, name), bytes);
    return await use(join(folder, name));
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A small seeded generator (mulberry32): numbers in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One random damage within the first `reach` bytes: bytes changed, a lying 64-bit number, a cut, or bytes put in. */
export function mutate(bytes: Uint8Array, random: () => number, reach: number): Uint8Array {
  const at = Math.floor(random() * Math.min(reach, bytes.length));
  const out = Uint8Array.from(bytes);
  const kind = random();
  if (kind < 0.4) {
    for (let i = 0; i < 1 + random() * 4; i++) out[Math.min(out.length - 1, at + i)] = Math.floor(random() * 256);
    return out;
  }
  if (kind < 0.7) {
    const lies = [0n, 1n, 0xffn, 0xffffffffn, 0x7fffffffffffffffn, 0xffffffffffffffffn, BigInt(bytes.length)];
    new DataView(out.buffer).setBigUint64(
      Math.min(at, out.length - 8),
      lies[Math.floor(random() * lies.length)]!,
      true,
    );
    return out;
  }
  if (kind < 0.85) return out.subarray(0, at);
  const extra = Math.floor(random() * 16) + 1;
  return Uint8Array.from([
    ...bytes.subarray(0, at),
    ...Array.from({ length: extra }, () => random() * 256),
    ...bytes.subarray(at),
  ]);
}
