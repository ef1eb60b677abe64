import type * as tfjs from "@tensorflow/tfjs";

/** The TensorFlow.js module in use: set once by `initBackend`, read as a live binding everywhere else. */
export let tf: typeof tfjs;

/** Installs the module that `initBackend` chose. */
export function useTf(module: typeof tfjs): void {
  tf = module;
}
