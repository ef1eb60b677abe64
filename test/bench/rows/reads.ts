import { Random } from "../../../backend/common/random.ts";
import { type GenerateOptions, generate } from "../../../backend/inference/generate.ts";
import { Prefix } from "../../../backend/inference/prefix.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import type { Bench } from "../measure.ts";
import { ids } from "../runs.ts";
import type { Setting } from "../setting.ts";

/** New tokens of one measurement. */
const STEPS = 64;
/** Tokens of the prompts. */
const [LONG, SHORT] = [7900, 2000];

type Policies = NonNullable<GenerateOptions["policies"]>;

/** A new token where policies choose what it reads, or let one token go for it, and where the prompt lies in another form. */
export function readRows(setting: Setting): Bench[] {
  const unit = "ms/token";
  const at = (policies: Policies): (() => Promise<number>) => behindKeys(setting, policies);
  const all = at([]);
  const snapkv = behindPrompt(setting, [{ name: "snapkv", params: { ratio: 0.75 } }], LONG);
  const tova = { name: "tova", params: { when: "decode", budget: SHORT } };
  return [
    {
      name: "token at 7900, quest reads 1024", unit, rival: "reads all",
      ours: at([{ name: "quest", params: { budget: 1024 } }]), theirs: all,
    },
    {
      name: "token at 7900, recycled-attention reads 1024", unit, rival: "reads all",
      ours: at([{ name: "recycled-attention", params: { budget: 1024 } }]), theirs: all,
    },
    {
      name: "token at 7900, shadowkv fetches 1024", unit, rival: "reads all",
      ours: at([{ name: "shadowkv", params: { budget: 1024 } }]), theirs: all, most: 3,
    },
    {
      name: "token at 7900, snapkv keeps a quarter", unit, rival: "all stay", goal: 0.5, most: 3,
      ours: snapkv, theirs: behindPrompt(setting, [], LONG),
    },
    {
      name: "token at 7900, snapkv keeps a quarter, kvpress", unit, rival: "kvpress in transformers fp32", goal: 0.5, most: 3,
      ours: snapkv, theirs: setting.rival("kvpress-decode-7900"),
    },
    {
      name: "token at 2000, tova lets one go for it", unit, rival: "all stay", most: 3,
      ours: behindPrompt(setting, [tova], SHORT), theirs: behindPrompt(setting, [], SHORT),
    },
  ]; // biome-ignore format: a table
}

/** Milliseconds a token behind keys and values drawn at random. */
function behindKeys(setting: Setting, policies: Policies): () => Promise<number> {
  return async () => {
    const model = await setting.model("q8");
    const prefix = drawnPrefix(model, LONG);
    const { decodeMsPerToken } = await generate(model, { prefix, policies, maxTokens: STEPS, stop: [] });
    prefix.dispose();
    return decodeMsPerToken;
  };
}

/** Milliseconds a token behind a prompt that was read. @param length of it */
function behindPrompt(setting: Setting, policies: Policies, length: number): () => Promise<number> {
  return async () => {
    const [tokens] = ids(1, length) as [number[]];
    const options = { tokens, policies, maxTokens: STEPS, stop: [] };
    return (await generate(await setting.model("q8"), options)).decodeMsPerToken;
  };
}

/** A prefix whose keys and values are the same normal numbers in each KV head of each layer. */
function drawnPrefix(model: Model, length: number): Prefix {
  const { n_layers, n_key_value_heads: heads, d_head, d_vocab } = model.config;
  const cache = new KvCache(model.config, { capacity: length + 2 * STEPS });
  cache.prepare(length);
  cache.advance(length);
  const random = new Random(1);
  const keys = tf.tensor2d(Float32Array.from({ length: length * d_head }, () => random.normal()), [length, d_head]); // biome-ignore format: one call
  const positions = Array.from({ length }, (_, position) => position);
  for (let layer = 0; layer < n_layers; layer++)
    for (let head = 0; head < heads; head++) cache.write({ layer, row: 0, head }, positions, { keys, values: keys });
  keys.dispose();
  const [tokens] = ids(1, length) as [number[]];
  return new Prefix(model, { tokens, cache, logits: new Float32Array(d_vocab), changes: "[]" });
}
