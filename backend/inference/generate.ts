import { HeadscopeError } from "../errors.ts";
import type { HeadMask } from "../heads/mask.ts";
import type { Window } from "../models/attention.ts";
import type { ModelConfig } from "../models/config.ts";
import { type ForwardOptions, type ForwardResult, forward } from "../models/forward.ts";
import { heldPositions, KvCache } from "../models/kv-cache.ts";
import type { Model } from "../models/model.ts";
import { Random } from "../runtime/random.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";

export interface GenerateOptions {
  /** The prompt as token ids; or `text`. */
  tokens?: readonly number[];
  /** The prompt as text, for models with a tokenizer. */
  text?: string;
  /** Most new tokens, default 32. */
  maxTokens?: number;
  /** 0 (default) takes the likeliest token, higher values sample. */
  temperature?: number;
  /** Of the sampling, default 0. */
  seed?: number;
  /** Tokens that end the generation (they are not part of the result); default the tokenizer's end token. */
  stop?: readonly number[];
  /** Streaming heads keep the mask's sink and recent tokens only; default all heads are full. */
  mask?: HeadMask;
  /** Whether the mask holds during the prompt too ("masked", as DuoAttention), or from the first new token on ("dense"). */
  prefill?: "masked" | "dense";
  /** Activations, hooks, interventions and reductions of every forward. */
  forward?: ForwardOptions;
  /** Sees every forward's result before it is freed: step 0 is the prompt. */
  onStep?: (result: ForwardResult, step: number) => void;
  /** Called with every new token; `probability` works out how likely the model held it (before the temperature). */
  onToken?: (id: number, text: string | undefined, probability: () => number) => void;
  signal?: AbortSignal;
  /** Lets others in between parts of a long prompt, which is then read part after part, and between tokens. */
  turn?: Turn;
}

/** A continuation, and what it took. */
export interface Generation {
  ids: number[];
  /** Decoded, where the model has a tokenizer. */
  text?: string;
  cache: {
    /** Bytes allocated for keys and values. */
    bytes: number;
    /** What full attention allocates for the same tokens. */
    bytesFull: number;
    /** With a mask: the positions held at the end, by layer and KV head. */
    kept?: number[][][];
  };
  promptTokens: number;
  prefillMs: number;
  decodeMsPerToken: number;
  /** Logits of the first new token [d_vocab]. */
  logits: Float32Array;
}

/** Tokens of headroom are allocated in steps of this many. */
const CAPACITY_STEP = 32;
/** Tokens of the parts of a prompt between which others have their turn: as many as go through a layer together. */
export const PART = 512;

/** Windows of the streaming heads of a mask, by layer and KV head. */
export function windowsOf(mask: HeadMask, config: ModelConfig): (Window | undefined)[][] {
  const heads = mask.kvHeads;
  if (!heads)
    throw new HeadscopeError("input", "the mask has no kvHeads", {
      remedy: "make one with `headscope mask --scores … --top N`",
    });
  if (heads.length !== config.n_layers || heads.some((row) => row.length !== config.n_key_value_heads)) {
    throw new HeadscopeError(
      "mismatch",
      `the mask is for ${heads.length} layers of ${heads[0]?.length} KV heads, the model has ${config.n_layers} of ${config.n_key_value_heads}`,
      {
        remedy: "make the mask from scores of this model",
      },
    );
  }
  const window: Window = { sink: mask.sink, recent: mask.recent };
  return heads.map((row) => row.map((kind) => (kind === "streaming" ? window : undefined)));
}

/**
 * Continues a prompt with keys and values cached: all of them for full heads, sink and recent ones for streaming heads.
 * @throws HeadscopeError for a prompt that does not fit, a mask of another shape, text without a tokenizer
 */
export async function generate(model: Model, options: GenerateOptions): Promise<Generation> {
  const { config, tokenizer } = model;
  const prompt = promptIds(model, options);
  const { maxTokens = 32, temperature = 0, seed = 0, signal } = options;
  const stop = new Set(options.stop ?? (tokenizer?.eos === undefined ? [] : [tokenizer.eos]));
  if (prompt.length + maxTokens > config.n_ctx) {
    throw new HeadscopeError(
      "input",
      `${prompt.length} prompt tokens and ${maxTokens} new ones exceed the context of ${config.n_ctx}`,
      { remedy: "shorten the prompt or ask for fewer tokens" },
    );
  }
  const windows = options.mask && windowsOf(options.mask, config);
  const capacity = Math.ceil((prompt.length + maxTokens) / CAPACITY_STEP) * CAPACITY_STEP;
  const dense = options.prefill === "dense";
  let cache = new KvCache(config, { capacity, ...(windows && !dense ? { windows } : {}) });
  try {
    const random = new Random(seed);
    const ids: number[] = [];
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      options.forward?.onLayer?.(layer);
    };
    const step = (tokens: readonly number[]): Float32Array => {
      const result = forward(model, { tokens: [tokens], cache, logitsAt: "last" }, { ...options.forward, onLayer });
      const logits = result.logits!.dataSync() as Float32Array;
      options.onStep?.(result, ids.length);
      result.dispose();
      return logits;
    };
    const began = performance.now();
    const turn = options.turn ?? loopTurn(signal);
    let read = 0;
    for (; options.turn && prompt.length - read > PART; read += PART) {
      const part = [prompt.slice(read, read + PART)];
      forward(model, { tokens: part, cache, logitsAt: "none" }, { ...options.forward, onLayer }).dispose();
      await turn();
    }
    const first = step(prompt.slice(read));
    const prefillMs = performance.now() - began;
    if (windows && dense) cache = streamed(cache, config, windows);
    const decodeBegan = performance.now();
    let logits = first;
    for (;;) {
      const id = choose(logits, temperature, random);
      if (stop.has(id)) break;
      ids.push(id);
      const from = logits;
      options.onToken?.(id, tokenizer?.decode([id]), () => probabilityOf(from, id));
      if (ids.length >= maxTokens) break;
      // Lets a cancel or a progress display through between tokens.
      await turn();
      logits = step([id]);
    }
    const steps = cache.lengths[0]! - prompt.length;
    return {
      ids,
      ...(tokenizer ? { text: tokenizer.decode(ids) } : {}),
      cache: { bytes: cache.bytes, bytesFull: cache.bytesFull, ...(windows ? { kept: kept(cache, windows) } : {}) },
      promptTokens: prompt.length,
      prefillMs,
      decodeMsPerToken: steps === 0 ? 0 : (performance.now() - decodeBegan) / steps,
      logits: first,
    };
  } finally {
    cache.dispose();
  }
}

function promptIds(model: Model, { tokens, text }: GenerateOptions): readonly number[] {
  if ((tokens === undefined) === (text === undefined))
    throw new HeadscopeError("usage", "a generation starts from either tokens or a text", {
      remedy: "give one of them",
    });
  if (tokens) return tokens;
  if (!model.tokenizer)
    throw new HeadscopeError("unsupported", `${model.ref} has no tokenizer`, {
      remedy: "give token ids instead of a text",
    });
  const ids = model.tokenizer.encode(text!);
  if (ids.length === 0) throw new HeadscopeError("input", "the text is empty", { remedy: "give at least one token" });
  return ids;
}

/** The same tokens with the streaming heads cut to their windows; frees the full cache. */
function streamed(full: KvCache, config: ModelConfig, windows: (Window | undefined)[][]): KvCache {
  const cut = new KvCache(config, { capacity: full.capacity, windows });
  const length = full.lengths[0]!;
  cut.heads.forEach((rows, layer) => {
    rows[0]!.forEach((head, g) => {
      const { keys, values } = full.heads[layer]![0]![g]!.read(length);
      head.append(0, keys, values);
      tf.dispose([keys, values]);
    });
  });
  cut.advance(length);
  full.dispose();
  return cut;
}

function kept(cache: KvCache, windows: (Window | undefined)[][]): number[][][] {
  return windows.map((row) => row.map((window) => heldPositions(cache.lengths[0]!, window)));
}

function probabilityOf(logits: Float32Array, id: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return Math.exp(logits[id]! - largest) / logits.reduce((sum, l) => sum + Math.exp(l - largest), 0);
}

/** The likeliest token, or a sample at a temperature. */
function choose(logits: Float32Array, temperature: number, random: Random): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i]! > logits[best]!) best = i;
  if (temperature <= 0) return best;
  const weights = Float64Array.from(logits, (l) => Math.exp((l - logits[best]!) / temperature));
  let left = random.uniform() * weights.reduce((a, b) => a + b, 0);
  const chosen = weights.findIndex((w) => {
    left -= w;
    return left <= 0;
  });
  return chosen < 0 ? best : chosen;
}
