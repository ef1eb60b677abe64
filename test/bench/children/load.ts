/**
 * Loads a model in a process of its own and says what it took, as load_model.py does for transformers: one JSON line
 * {"loadMs", "firstMs", "peakBytes"}, with the time to the first logits and the most that the process ever held.
 *
 *   node dist/bench-load.js REF [--weights f32|bf16|q8] [--tokens 8]
 */
import { parseArgs } from "node:util";
import type { WeightType } from "../../../backend/common/words.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { peakBytes } from "./peak.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { weights: { type: "string", default: "f32" }, tokens: { type: "string", default: "8" } },
});
await initBackend();
const began = performance.now();
const model = await loadModel(positionals[0]!, { weights: values.weights as WeightType });
const loadMs = performance.now() - began;
const tokens = Array.from({ length: Number(values.tokens) }, (_, i) => (17 + i * 7919) % model.config.d_vocab);
const made = forward(model, { tokens: [tokens], logitsAt: "last" });
made.logits!.dataSync();
const firstMs = performance.now() - began;
process.stdout.write(`${JSON.stringify({ loadMs, firstMs, peakBytes: peakBytes(), weightBytes: model.bytes })}\n`);
