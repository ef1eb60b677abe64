import type { HeadMask } from "../../../backend/common/heads/mask.ts";
import { type MaskMeaning, meaningOf } from "../../../backend/common/heads/meaning.ts";
import type { Activations, CacheKind, WeightType } from "../../../backend/common/words.ts";
import { fillCache } from "../../../backend/inference/cost/stand-in.ts";
import { generateBatch } from "../../../backend/inference/generate.ts";
import type { CacheForm } from "../../../backend/models/cache/forms/form.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import type { ModelConfig } from "../../../backend/models/config.ts";
import type { ForwardOptions } from "../../../backend/models/forward/types.ts";
import type { Bench } from "../measure.ts";
import { ids, timedForward } from "../runs.ts";
import { MODEL, type Setting } from "../setting.ts";

/** Tokens of one measurement, and those before it that do not count. */
const [STEPS, WARM] = [32, 3];
/** Lengths of prompts that are continued together. */
const TOGETHER = Array.from({ length: 8 }, (_, i) => 200 + 16 * i);
/** Tokens that the caches hold. */
const LENGTHS = [256, 2048, 7900] as const;

/** KIVI as its paper has it, with 4 bits. */
export const KIVI: CacheForm = { kind: "kivi", bits: 4, group: 32, recent: 128 };

/** Shares of the KV heads that are full, and the shares of time and bytes that they are to cost. */
export const SHARES = [
  { name: "a quarter", oneIn: 4, time: 0.5, bytes: 0.3 },
  { name: "half", oneIn: 2, time: 0.7, bytes: 0.55 },
] as const;

/** What a token is decoded with. */
interface Token {
  weights: WeightType;
  /** Tokens that the cache holds. */
  cached: number;
  /** Form of keys and values, default float32. */
  kind?: CacheKind;
  /** Activations in 8 bits, which is what llama.cpp does with a file of narrow weights. */
  rounded?: boolean;
  /** One of so many KV heads is full, the others keep 64 + 256 tokens. */
  oneIn?: number;
  /** Rows of random numbers: of rows that were never written all of the memory is one page of zeros. */
  written?: boolean;
  /** What lies behind the recent tokens is in codes. */
  form?: CacheForm;
}

/** One token after many: what generation waits for. */
export function decodeRows(setting: Setting): Bench[] {
  const unit = "ms/token";
  const ours = (token: Token): (() => Promise<number>) => decoder(setting, token);
  const transformers = (name: string, dtype = "fp32") => ({
    unit, rival: `transformers sdpa ${dtype}`, theirs: setting.rival(name),
  }); // biome-ignore format: one row
  const llamaCpp = (cached: number) => ({
    unit, rival: "llama.cpp built here, f16 cache", theirs: setting.rival(`llama-cpp-decode-${cached}`),
  }); // biome-ignore format: one row
  const written = { weights: "q8", cached: 7900, written: true } as const;
  return [
    ...LENGTHS.map((cached) => ({
      name: `token at ${cached}`, goal: { 256: 0.25, 2048: 0.5, 7900: 0.4 }[cached],
      ours: ours({ weights: "q8", cached }), ...transformers(`decode-${cached}`),
    })),
    ...LENGTHS.map((cached) => ({
      name: `token at ${cached}, f32 weights`, goal: 0.7,
      ours: ours({ weights: "f32", cached }), ...transformers(`decode-${cached}`),
    })),
    {
      name: "token at 256, bf16 weights", goal: 0.8,
      ours: ours({ weights: "bf16", cached: 256 }), ...transformers("decode-bf16-256", "bf16"),
    },
    ...LENGTHS.map((cached) => ({
      name: `token at ${cached}, f16 cache, llama.cpp`, goal: { 256: 0.7, 2048: 0.9, 7900: 0.9 }[cached],
      ours: ours({ weights: "q8", cached, kind: "f16" }), ...llamaCpp(cached),
    })),
    {
      name: "token at 256, f32 cache, llama.cpp", goal: 0.9,
      ours: ours({ weights: "q8", cached: 256 }), ...llamaCpp(256),
    },
    ...LENGTHS.map((cached) => ({
      name: `token at ${cached}, f16 cache, 8-bit activations, llama.cpp`, goal: { 256: 0.7, 2048: 0.9, 7900: 0.9 }[cached],
      ours: ours({ weights: "q8", cached, kind: "f16", rounded: true }), ...llamaCpp(cached),
    })),
    ...(["q8", "q4"] as const).map((kind) => ({
      name: `token at 7900, ${kind} cache`, unit, rival: "f16 cache",
      ours: ours({ weights: "q8", cached: 7900, kind }), theirs: ours({ weights: "q8", cached: 7900, kind: "f16" }),
    })),
    {
      name: "token at 7900, kivi of 4 bits", unit, rival: "f32 cache", goal: 1,
      ours: ours({ ...written, form: KIVI }), theirs: ours(written),
    },
    ...SHARES.map(({ name, oneIn, time }) => ({
      name: `token at 7900, ${name} of the KV heads full`, unit, rival: "all heads full", goal: time,
      ours: ours({ ...written, oneIn }), theirs: ours(written),
    })),
    ...(["exact", "8bit"] as const).map((activations) => ({
      name: `token at 256, eight prompts together${activations === "8bit" ? ", 8-bit activations" : ""}`, unit,
      rival: "one prompt", goal: 1 / 3, ours: together(setting, TOGETHER, activations), theirs: together(setting, [256], activations),
    })),
  ]; // biome-ignore format: a table
}

/** Milliseconds a token over a cache that holds so many. */
function decoder(setting: Setting, token: Token): () => Promise<number> {
  const { weights, cached, kind = "f32", oneIn, rounded, form } = token;
  return async () => {
    const model = await setting.model(weights);
    const windows = oneIn ? { windows: windowsOf(model.config, oneIn) } : {};
    const cache = new KvCache(model.config, { capacity: cached + 64, kind, form, ...windows });
    cache.prepare(cached);
    cache.advance(cached);
    if (token.written) fillCache(cache);
    cache.encode();
    const options: ForwardOptions = rounded ? { activations: "8bit" } : {};
    const step = (id: number): number => timedForward(model, { tokens: [[id]], cache, logitsAt: "last" }, options);
    for (let i = 0; i < WARM; i++) step(5 + i);
    let took = 0;
    for (let i = 0; i < STEPS; i++) took += step(100 + i);
    cache.dispose();
    return took / STEPS;
  };
}

/** Milliseconds a new token of any of the prompts, once all are read. */
function together(setting: Setting, lengths: readonly number[], activations: Activations): () => Promise<number> {
  return async () => {
    const model = await setting.model("q8");
    const prompts = ids(lengths.length, Math.max(...lengths)).map((row, i) => ({ tokens: row.slice(0, lengths[i]) }));
    const [first] = await generateBatch(model, { prompts, maxTokens: STEPS, stop: [], activations });
    return first!.decodeMsPerToken / lengths.length;
  };
}

/** By layer and KV head: one in so many is full, the others keep 64 + 256 tokens. */
export function windowsOf(config: ModelConfig, oneIn: number): MaskMeaning["windows"] {
  return meaningOf(maskOf(config, oneIn)).windows;
}

/** The mask of these heads. */
export function maskOf(config: ModelConfig, oneIn: number): HeadMask {
  const { n_layers, n_heads, n_key_value_heads: G } = config;
  const kvHeads = Array.from({ length: n_layers }, (_, l) =>
    Array.from({ length: G }, (_, g) => ((l * G + g) % oneIn === 0 ? ("retrieval" as const) : ("streaming" as const))),
  );
  return {
    format: "headscope.head-mask/1",
    model: { ref: MODEL, layers: n_layers, heads: n_heads, kvHeads: G },
    kvHeads,
    sink: 64,
    recent: 256,
    source: "user",
  };
}
