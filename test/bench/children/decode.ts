/**
 * Reads a long prompt and decodes a few tokens in a process of its own, as decode_model.py does with llama.cpp. One JSON line
 * {"loadMs", "promptMs", "tokenMs", "loadedBytes", "promptBytes", "peakBytes"}: bytes are the most that the process held until
 * the model was loaded, until the prompt was read, and until the end.
 *
 *   node dist/bench-decode.js REF [--weights f32|bf16|q8] [--cache f32|f16|q8|q4] [--length 7900] [--tokens 8] [--given]
 *
 * With --given the prompt is not read: the cache is as large as if it had been, as one that was saved is.
 */
import { parseArgs } from "node:util";
import type { CacheKind, WeightType } from "../../../backend/common/words.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { ids, timedForward } from "../runs.ts";
import { peakBytes } from "./peak.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    weights: { type: "string", default: "f32" },
    cache: { type: "string", default: "f32" },
    length: { type: "string", default: "7900" },
    tokens: { type: "string", default: "8" },
    given: { type: "boolean", default: false },
  },
});
const [length, tokens] = [Number(values.length), Number(values.tokens)];
const began = performance.now();
const model = await loadModel(positionals[0]!, { weights: values.weights as WeightType });
const loadMs = performance.now() - began;
const loadedBytes = peakBytes();
const cache = new KvCache(model.config, { capacity: length + tokens, kind: values.cache as CacheKind });
const promptMs = values.given ? fill() : timedForward(model, { tokens: ids(1, length), cache, logitsAt: "last" });
const promptBytes = peakBytes();
let tokenMs = 0;
for (let i = 0; i < tokens; i++)
  tokenMs += timedForward(model, { tokens: [[100 + i]], cache, logitsAt: "last" }) / tokens;
process.stdout.write(
  `${JSON.stringify({ loadMs, promptMs, tokenMs, loadedBytes, promptBytes, peakBytes: peakBytes() })}\n`,
);

function fill(): number {
  cache.prepare(length);
  cache.advance(length);
  return 0;
}
