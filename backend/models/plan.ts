import { HeadscopeError } from "../errors.ts";
import type { Access } from "./cache-access.ts";
import type { ForwardInput } from "./forward.ts";
import { KvCache, type RowLayout } from "./kv-cache.ts";
import type { Reach } from "./long-decode.ts";
import type { Model } from "./model.ts";

/** A stretch of positions that goes through a layer together: `real` tokens from `first` on, padded to `tokens`. */
export interface ChunkPlace {
  first: number;
  real: number;
  tokens: number;
}

/** Tokens of a row that go through a layer together. Longer inputs pass in chunks, layer by layer. */
const CHUNK = 512;

/** The padded length for n tokens: few lengths, so that a new prompt seldom needs a new function. */
export function bucket(n: number): number {
  if (n <= 16) return 2 ** Math.ceil(Math.log2(n));
  const step = n <= 128 ? 8 : 32;
  return Math.ceil(n / step) * step;
}

/** How an input passes through the model. */
export interface Plan {
  rows: number;
  total: number;
  lengths: number[];
  chunks: ChunkPlace[];
  starts: number[];
  startLayer: number;
  stopLayer: number;
  cache: KvCache | undefined;
  /** Buffers of one layer, used by each in turn: for long inputs without a cache. */
  scratch: KvCache | undefined;
  /** How chunks reach into the cache, by chunk and layout. */
  accesses: Map<string, Access>;
  /** The same for single tokens over long caches, by layout. */
  reaches: Map<RowLayout, Reach | undefined>;
}

/**
 * Checks an input and lays out its way.
 * @param padded the length to which a chunk is padded
 */
export function makePlan(model: Model, input: ForwardInput, padded: (tokens: number) => number): Plan {
  const { config } = model;
  const { cache } = input;
  const lengths = lengthsOf(input, config);
  const rows = lengths.length;
  const total = Math.max(0, ...lengths);
  if (rows === 0 || Math.min(...lengths) === 0)
    throw new HeadscopeError("input", "a row of tokens is empty", { remedy: "give every row at least one token" });
  if (cache && cache.rows !== rows)
    throw new HeadscopeError("usage", `the cache has ${cache.rows} rows, the input ${rows}`, {
      remedy: "make a cache with as many rows",
    });
  const starts = cache ? [...cache.lengths] : new Array(rows).fill(0);
  if (cache && total > 1 && new Set(starts).size > 1) {
    throw new HeadscopeError(
      "unsupported",
      "rows of different cached lengths can be extended by one token at a time only",
      { remedy: "feed single tokens" },
    );
  }
  // Padding would push the shorter rows' keys out of their windows.
  if (cache && new Set(lengths).size > 1 && cache.heads.some((_, layer) => cache.streams(layer))) {
    throw new HeadscopeError("unsupported", "rows of different lengths can't go into a cache with streaming heads", {
      remedy: "give rows of one length, or a cache for each row",
    });
  }
  if (cache && (input.keyMask || input.windows))
    throw new HeadscopeError("usage", "a key mask or windows can't be given with a cache", {
      remedy: "give the cache windows of its own",
    });
  checkTokens(input.tokens, config.d_vocab);
  const end = Math.max(...starts) + total;
  if (end > config.n_ctx)
    throw new HeadscopeError("input", `${end} tokens are more than the model's context of ${config.n_ctx}`, {
      remedy: "shorten the input",
    });
  const long = total > CHUNK;
  if (long && input.keyMask)
    throw new HeadscopeError("unsupported", `a key mask can't be given with ${total} tokens`, {
      remedy: `shorten the input to ${CHUNK} tokens, or pad on the right without a mask`,
    });
  const chunks = Array.from({ length: Math.ceil(total / CHUNK) }, (_, c) => {
    const real = Math.min(CHUNK, total - c * CHUNK);
    return { first: c * CHUNK, real, tokens: padded(real) };
  });
  const last = chunks.at(-1)!;
  const slots = Math.max(...starts) + last.first + last.tokens;
  cache?.reserve(total);
  // Where the padding of the last chunk would not fit any more, it goes without.
  if (cache && slots > cache.capacity) last.tokens = last.real;
  return {
    rows, total, lengths, chunks, starts, cache,
    startLayer: input.startLayer ?? 0,
    stopLayer: input.stopLayer ?? config.n_layers,
    accesses: new Map(),
    reaches: new Map(),
    scratch: long && !cache ? new KvCache(config, { rows, capacity: slots, layers: 1 }) : undefined,
  }; // biome-ignore format: one object
}

/** Tokens of each row. */
function lengthsOf(input: ForwardInput, { d_input }: Model["config"]): number[] {
  const given = [input.tokens, input.inputs, input.resid].filter((source) => source !== undefined);
  if (given.length !== 1) {
    throw new HeadscopeError("usage", "a forward takes either tokens, vectors or a residual stream", {
      remedy: "give one of `tokens`, `inputs` and `resid`",
    });
  }
  if (input.tokens && d_input)
    throw new HeadscopeError("usage", `this model reads vectors of ${d_input} numbers, not token ids`, {
      remedy: "give `inputs`, or a model of tokens",
    });
  if (input.tokens) return input.tokens.map((row) => row.length);
  const [rows, positions, width] = (input.inputs ?? input.resid)!.shape as [number, number, number];
  if (input.inputs && width !== d_input)
    throw new HeadscopeError(
      "usage",
      `the inputs have ${width} numbers a position, the model reads ${d_input ?? "token ids"}`,
      {
        remedy: d_input ? `give vectors of ${d_input}` : "give `tokens`",
      },
    );
  return new Array<number>(rows).fill(positions);
}

function checkTokens(tokens: ForwardInput["tokens"], d_vocab: number): void {
  tokens?.forEach((row, r) => {
    const bad = row.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= d_vocab);
    if (bad >= 0) {
      throw new HeadscopeError("input", `token id ${row[bad]} (row ${r}, position ${bad}) is outside the vocabulary`, {
        remedy: `ids go from 0 to ${d_vocab - 1}`,
      });
    }
  });
}
