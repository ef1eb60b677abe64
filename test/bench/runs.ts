import { forward } from "../../backend/models/forward/forward.ts";
import type { ForwardInput, ForwardOptions } from "../../backend/models/forward/types.ts";
import type { Model } from "../../backend/models/model.ts";

/** Rows of token ids, the same in every run. */
export function ids(rows: number, length: number): number[][] {
  return Array.from({ length: rows }, (_, r) =>
    Array.from({ length }, (_, i) => 17 + ((i * 7919 + r * 104729) % 49000)),
  );
}

/** Milliseconds of a forward to its logits on JavaScript's side, or to the stream where there are none. */
export function timedForward(model: Model, input: ForwardInput, options: ForwardOptions = {}): number {
  const began = performance.now();
  const result = forward(model, input, options);
  (result.logits ?? result.resid).dataSync();
  result.dispose();
  return performance.now() - began;
}
