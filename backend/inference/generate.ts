import type { Stopped } from "../common/api/generation.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { HeadMask } from "../common/heads/mask.ts";
import type { MaskMeaning } from "../common/heads/meaning.ts";
import { ANYTHING, checkOptions, FUNCTION, oneOf, type Rules, real, whole, YES_OR_NO } from "../common/options.ts";
import { Random } from "../common/random.ts";
import { PREFILLS, type Prefill } from "../common/words.ts";
import { allFinite, notFinite } from "../hooks/finite.ts";
import type { Intervention } from "../hooks/intervention-schema.ts";
import {
  compileInterventions,
  disposeInterventions,
  mergeInterventions,
  type Sources,
  zeroHeads,
} from "../hooks/interventions.ts";
import { maskMeaning } from "../hooks/mask-meaning.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import type { ModelConfig } from "../models/config.ts";
import { forward } from "../models/forward/forward.ts";
import type { ForwardOptions, ForwardResult } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { checkRow, requireTokenizer } from "../models/tokens.ts";
import { tf } from "../runtime/tf.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";
import { ownStops, type Stop, stopRule } from "./stop-rule.ts";
import { TextStream } from "./text-stream.ts";

export interface GenerateOptions {
  /** The prompt as token ids; or `text`. */
  tokens?: readonly number[] | undefined;
  /** The prompt as text, for models with a tokenizer. */
  text?: string | undefined;
  /** Most new tokens, default 32. */
  maxTokens?: number | undefined;
  /** 0 (default) takes the likeliest token, higher values sample. */
  temperature?: number | undefined;
  /** Of the sampling, default 0. */
  seed?: number | undefined;
  /**
   * Ends of the generation: token ids and texts, none of which is part of the result. Default the model's own stops
   * (`model.stops`), which `ownStops` joins with others; [] for none.
   */
  stop?: readonly Stop[] | undefined;
  /** Its streaming heads keep the mask's sink and recent tokens only, its ablated heads write 0; default all heads are full. */
  mask?: HeadMask | undefined;
  /** Reach of the mask's windows: during the prompt too ("masked", as DuoAttention), or from the first new token on ("dense"). */
  prefill?: Prefill | undefined;
  /** Interventions as data, in every forward. Their positions are those of the sequence: the prompt, then the new tokens. */
  interventions?: readonly Intervention[] | undefined;
  /** Activations that `with` of the interventions refers to. */
  sources?: Sources | undefined;
  /** False runs the whole sequence again for every token instead of caching keys and values. Default true. */
  useCache?: boolean | undefined;
  /** Activations, hooks, compiled interventions and reductions of every forward. */
  forward?: ForwardOptions | undefined;
  /** Sees every forward's result before it is freed: step 0 is the prompt. */
  onStep?: ((result: ForwardResult, step: number) => void) | undefined;
  /**
   * Called with every new token and the text that is certain with it, which lags behind where a character lacks bytes or a
   * stop text may have begun; `probability` works out how likely the model held the token (before the temperature).
   */
  onToken?: ((id: number, text: string, probability: () => number) => void) | undefined;
  signal?: AbortSignal | undefined;
  /**
   * Lets others in between tokens, and between parts of a long prompt, which is then read part after part; one that `onStep`,
   * hooks or reductions see is read whole.
   */
  turn?: Turn | undefined;
}

const OPTIONS: Rules<GenerateOptions> = {
  tokens: {
    wants: "one row of token ids",
    fits: (ids) => ArrayBuffer.isView(ids) || (Array.isArray(ids) && ids.every((id) => typeof id === "number")),
  },
  text: { wants: "a text", fits: (text) => typeof text === "string" },
  maxTokens: whole(1),
  temperature: real(0),
  seed: whole(0),
  stop: {
    wants: "a list of token ids and texts",
    fits: (stops) => Array.isArray(stops) && stops.every((stop) => typeof stop === "string" || Number.isInteger(stop)),
  },
  mask: { wants: "a mask, as readMask and maskFromScores give it", fits: (mask) => typeof mask === "object" },
  prefill: oneOf(PREFILLS),
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  sources: ANYTHING,
  useCache: YES_OR_NO,
  forward: { wants: "options of a forward", fits: (options) => typeof options === "object" },
  onStep: FUNCTION,
  onToken: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** A continuation, and what it took. */
export interface Generation {
  /** New tokens; the last may go on in a stop text, where one ended the generation. */
  ids: number[];
  /** Decoded, where the model has a tokenizer, and cut before a stop text. */
  text?: string;
  /** Why it ended. */
  stopped: Stopped;
  cache: {
    /** Bytes allocated for keys and values; 0 where nothing is cached. */
    bytes: number;
    /** Bytes that full attention allocates for the same tokens. */
    bytesFull: number;
    /** With streaming heads: the positions held at the end, ascending, by layer and KV head. */
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

/**
 * Continues a prompt with keys and values cached: all of them for full heads, sink and recent ones for streaming heads.
 * @throws HeadscopeError for options that do not exist or do not fit, a prompt that does not fit, a mask of another shape, text
 * without a tokenizer, and logits that are no numbers, with the place where they arose
 */
export async function generate(model: Model, options: GenerateOptions): Promise<Generation> {
  checkOptions("generate", options, OPTIONS);
  const { config, tokenizer } = model;
  const prompt = promptIds(model, options);
  const { maxTokens = 32, temperature = 0, seed = 0, signal } = options;
  const stop = stopRule(model, options.stop ?? ownStops(model));
  if (prompt.length + maxTokens > config.n_ctx) {
    throw new HeadscopeError(
      "input",
      `${prompt.length} prompt tokens and ${maxTokens} new ones exceed the context of ${config.n_ctx}`,
      { remedy: "shorten the prompt or ask for fewer tokens" },
    );
  }
  const meaning = options.mask && maskMeaning(model, options.mask);
  const windows = meaning?.streaming.length ? meaning.windows : undefined;
  const { useCache = true } = options;
  const dense = options.prefill === "dense";
  if (windows && dense && !useCache)
    throw new HeadscopeError("usage", "a prompt can't be read without the mask where nothing is cached", {
      remedy: 'leave prefill "dense" out, or useCache: false',
    });
  const capacity = Math.ceil((prompt.length + maxTokens) / CAPACITY_STEP) * CAPACITY_STEP;
  const compiled = compileInterventions(
    model,
    [...zeroHeads(meaning?.ablated ?? []), ...(options.interventions ?? [])],
    {
      ...options.sources,
      rows: 1,
      positions: prompt.length + maxTokens,
      tokens: [prompt],
    },
  );
  let cache = useCache ? new KvCache(config, { capacity, ...(windows && !dense ? { windows } : {}) }) : undefined;
  let steps = -1; // the prompt is none
  try {
    const random = new Random(seed);
    const ids: number[] = [];
    const interventions = mergeInterventions(compiled, options.forward?.interventions ?? new Map());
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      options.forward?.onLayer?.(layer);
    };
    const requests = { ...options.forward, interventions, onLayer };
    const step = (tokens: readonly number[]): Float32Array => {
      steps++;
      const input = cache
        ? { tokens: [tokens], cache }
        : { tokens: [[...prompt, ...ids]], ...(windows ? { windows } : {}) };
      const result = forward(model, { ...input, logitsAt: "last" }, requests);
      const logits = result.logits!.dataSync() as Float32Array;
      options.onStep?.(result, ids.length);
      result.dispose();
      if (!allFinite(logits)) {
        const hooks = options.forward?.hooks ?? [];
        throw notFinite(model, `the logits of new token ${ids.length}`, [[...prompt, ...ids]], {
          interventions,
          hooks,
        });
      }
      return logits;
    };
    const began = performance.now();
    const turn = options.turn ?? loopTurn(signal);
    let read = 0;
    const inParts = options.turn !== undefined && !seesWhole(options);
    for (; inParts && cache && prompt.length - read > PART; read += PART) {
      const part = [prompt.slice(read, read + PART)];
      forward(model, { tokens: part, cache, logitsAt: "none" }, requests).dispose();
      await turn();
    }
    const first = step(prompt.slice(read));
    const prefillMs = performance.now() - began;
    if (cache && windows && dense) {
      const full = cache;
      cache = full.streaming(windows);
      full.dispose();
    }
    const decodeBegan = performance.now();
    const written = new TextStream(tokenizer, stop.texts);
    const reads = options.onToken !== undefined || stop.texts.length > 0;
    let stopped: Stopped | undefined;
    let logits = first;
    for (;;) {
      const id = choose(logits, temperature, random);
      if (stop.ids.has(id)) {
        stopped = { by: "token", id };
        break;
      }
      ids.push(id);
      const from = logits;
      let grown = reads ? written.push(id) : "";
      if (written.stop !== undefined) stopped = { by: "text", text: written.stop };
      else if (ids.length >= maxTokens) stopped = { by: "limit", tokens: maxTokens };
      if (stopped) grown += written.end();
      options.onToken?.(id, grown, () => probabilityOf(from, id));
      if (stopped) break;
      // Lets a cancel or a progress display through between tokens.
      await turn();
      logits = step([id]);
    }
    return {
      ids: stopped.by === "text" ? written.ids : ids,
      ...(tokenizer ? { text: reads ? written.text : tokenizer.decode(ids) } : {}),
      stopped,
      cache: {
        bytes: cache?.bytes ?? 0,
        bytesFull: cache?.bytesFull ?? 0,
        ...(cache && windows ? { kept: kept(cache, windows) } : {}),
      },
      promptTokens: prompt.length,
      prefillMs,
      decodeMsPerToken: steps === 0 ? 0 : (performance.now() - decodeBegan) / steps,
      logits: first,
    };
  } finally {
    cache?.dispose();
    disposeInterventions(compiled);
  }
}

/** Tells whether somebody sees the prompt's forward, which then is one. */
function seesWhole({ onStep, forward: { names = [], hooks = [], reductions = [] } = {} }: GenerateOptions): boolean {
  return Boolean(onStep) || typeof names === "function" || names.length + hooks.length + reductions.length > 0;
}

function promptIds(model: Model, { tokens, text }: GenerateOptions): readonly number[] {
  if ((tokens === undefined) === (text === undefined))
    throw new HeadscopeError("usage", "a generation starts from either tokens or a text", {
      remedy: "give one of them",
    });
  const ids = tokens
    ? [...tokens]
    : requireTokenizer(model, { remedy: "give token ids instead of a text" }).encode(text!);
  checkRow(ids, "the prompt", model);
  return ids;
}

/** By layer and KV head, what a streaming head keeps. */
type Windows = MaskMeaning["windows"];

function kept(cache: KvCache, windows: Windows): number[][][] {
  return windows.map((row, layer) => row.map((_, g) => cache.positions(layer, 0, g)));
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
  const index = weights.findIndex((w) => {
    left -= w;
    return left <= 0;
  });
  return index < 0 ? best : index;
}
