import { type KernelChoice, loadKernels } from "../../../backend/kernels/kernels.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { compilerName } from "../../../backend/setup/native/kernels.mjs";

/**
 * The kernels of this process. A machine may lack them for want of a compiler or of the native library, or by wish; anything else
 * that keeps them away fails whoever asks.
 */
export async function kernelsHere(): Promise<KernelChoice> {
  const backend = await initBackend();
  const choice = loadKernels();
  const excused =
    backend.name !== "tensorflow" || process.env["HEADSCOPE_KERNELS"] === "off" || (await compilerName()) === undefined;
  if (!choice.ready && !excused) throw new Error(`the kernels should be here: ${choice.why}`);
  return choice;
}

/** Largest of the sizes of numbers. */
export function largest(values: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, Math.abs(values[i]!));
  return most;
}

/** Largest difference of two rows of numbers, relative to the largest of the second; infinite where one is no number. */
export function relativeError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let most = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i]! - want[i]!);
    if (!(difference <= most)) most = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
  }
  return most / (largest(want) || 1);
}
