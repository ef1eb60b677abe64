/**
 * The cost of holding keys and values in fewer bits, and of 8-bit activations: nats of the next token, token by token over a text.
 *
 *   npm run bench:cost [-- --model smollm2-135m --text README.md --tokens 2048 --json]
 *
 * All variants read the text side by side. `loss` is the mean of -log p of the tokens that come, `cost` the difference to exact
 * products over float32, `kl` the mean divergence of the distributions from that one, `same` the share of equal likeliest tokens.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { ACTIVATIONS, type Activations, CACHE_KINDS, type CacheKind } from "../../backend/common/words.ts";
import { likeliest } from "../../backend/inference/decoding/sampling.ts";
import { KvCache } from "../../backend/models/cache/kv-cache.ts";
import { forward } from "../../backend/models/forward/forward.ts";
import { loadModel } from "../../backend/models/load.ts";
import { requireTokenizer } from "../../backend/models/tokens.ts";

const { values: args } = parseArgs({
  options: {
    model: { type: "string", default: "smollm2-135m" },
    text: { type: "string", default: "README.md" },
    tokens: { type: "string", default: "2048" },
    json: { type: "boolean", default: false },
  },
});

/** One way of computing, and what it has cost so far, in nats summed over tokens. */
interface Variant {
  readonly cache: CacheKind;
  readonly activations: Activations;
  readonly held: KvCache;
  loss: number;
  kl: number;
  same: number;
}

const model = await loadModel(args.model, { weights: "q8" });
const ids = requireTokenizer(model).encode(readFileSync(args.text, "utf8")).slice(0, Number(args.tokens));
const [exact, eightBit] = ACTIVATIONS;
const variants = [
  ...CACHE_KINDS.map((cache) => variant(cache, exact)),
  ...CACHE_KINDS.slice(0, 2).map((cache) => variant(cache, eightBit)),
];
for (let t = 0; t + 1 < ids.length; t++) {
  let base: { log: Float64Array; best: number } | undefined;
  for (const each of variants) {
    const { held, activations } = each;
    const result = forward(model, { tokens: [[ids[t]!]], cache: held, logitsAt: "last" }, { activations });
    const logits = result.logits!.dataSync() as Float32Array;
    const now = { log: logSoftmax(logits), best: likeliest(logits) };
    result.dispose();
    base ??= now;
    each.loss -= now.log[ids[t + 1]!]!;
    each.kl += divergence(base.log, now.log);
    each.same += Number(now.best === base.best);
  }
}
const steps = ids.length - 1;
const rows = variants.map(({ cache, activations, held, loss, kl, same }) => ({
  ...{ cache, activations, tokens: steps, bytes: held.bytes, loss: loss / steps },
  ...{ cost: (loss - variants[0]!.loss) / steps, kl: kl / steps, same: same / steps },
}));
for (const { held } of variants) held.dispose();
model.dispose();
if (args.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
else for (const row of rows) process.stdout.write(`${lineOf(row)}\n`);

function variant(cache: CacheKind, activations: Activations): Variant {
  const held = new KvCache(model.config, { kind: cache, capacity: ids.length });
  return { cache, activations, held, loss: 0, kl: 0, same: 0 };
}

function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits[likeliest(logits)]!;
  let total = 0;
  for (let i = 0; i < logits.length; i++) total += Math.exp(logits[i]! - largest);
  const shift = largest + Math.log(total);
  return Float64Array.from(logits, (l) => l - shift);
}

/** Kullback-Leibler divergence in nats of the second from the first. */
function divergence(from: Float64Array, to: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < from.length; i++) sum += Math.exp(from[i]!) * (from[i]! - to[i]!);
  return sum;
}

function lineOf({ cache, activations, tokens, bytes, loss, cost, kl, same }: (typeof rows)[number]): string {
  const nats = `loss ${loss.toFixed(4)}, cost ${cost.toFixed(5)}, kl ${kl.toExponential(1)} nats`;
  return `${cache} ${activations}: ${nats}, same ${(100 * same).toFixed(1)} % of ${tokens}, ${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
