import { HeadscopeError } from "../common/errors.ts";
import type { ModelConfig } from "../models/config.ts";
import { availableMemory } from "../models/sources/memory.ts";
import { activationWidth, isPattern } from "../models/transformer/hook-points.ts";

/** Bytes of a number as activations are held. */
export const NUMBER_BYTES = 4;

/**
 * Refuses work whose tensors do not fit into memory, before it begins.
 * @param what the tensors are, in the plural @param bytes that they take at their height
 * @throws HeadscopeError (unsupported) with what they take and what is free
 */
export function checkRoom(
  what: string,
  bytes: number,
  { remedy, available = availableMemory() }: { remedy: string; available?: number },
): void {
  if (bytes <= available) return;
  throw new HeadscopeError("unsupported", `${what} take ${size(bytes)}, and ${size(available)} of memory are free`, {
    remedy: `${remedy}, or free memory`,
  });
}

/** Bytes of one row's activations at some hook points. @param positions tokens of the row */
export function activationBytes(config: ModelConfig, names: readonly string[], positions: number): number {
  return names.reduce((sum, name) => {
    const width = activationWidth(config, name).reduce((product, n) => product * n, 1);
    return sum + NUMBER_BYTES * width * positions * (isPattern(name) ? positions : 1);
  }, 0);
}

function size(bytes: number): string {
  if (bytes < 1e6) return `${Math.ceil(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
