import { HeadscopeError } from "../../common/errors.ts";
import {
  ANYTHING,
  checkOptions,
  FUNCTION,
  oneOf,
  type Rule,
  type Rules,
  whole,
  YES_OR_NO,
} from "../../common/options.ts";
import { KvCache } from "../cache/kv-cache.ts";
import { ChunkPages, type LayerReach, type NewTokens, Places } from "../cache/places.ts";
import { kernelsAttend } from "../cache/storage/storages.ts";
import { checkWindows } from "../cache/window.ts";
import { hasUnequalHeads, localWindow, type ModelConfig, mostPositions } from "../config.ts";
import type { Model } from "../model.ts";
import { checkFits, checkRows } from "../tokens.ts";
import { requireOpenEnd } from "../transformer/bottleneck.ts";
import { requireSoftmax } from "../transformer/kernels/index.ts";
import { requireAttention } from "../transformer/mixers/index.ts";
import { refuseSoftPrompt } from "../transformer/soft-prompt.ts";
import { requireEqualHeads } from "../transformer/unequal-heads.ts";
import type { ForwardInput, ForwardOptions } from "./types.ts";

/** A stretch of positions that goes through a layer together: `real` tokens from `first` on, padded to `tokens`. */
export interface Chunk {
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

/** The way of an input through the model. */
export interface Plan {
  rows: number;
  total: number;
  lengths: number[];
  chunks: Chunk[];
  starts: number[];
  startLayer: number;
  stopLayer: number;
  cache: KvCache | undefined;
  /** A cache of one layer, used by each in turn: for inputs without a cache that are long, or that the kernels attend for. */
  scratch: KvCache | undefined;
  /** By chunk, its places in the cache. */
  places: readonly Places[];
  /** By layer from `startLayer` on, its number among those of the places. */
  indices: readonly number[];
  /** The pages that chunks of streaming heads pass through. */
  pages?: ChunkPages;
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
  if (input.tokens) checkRows(input.tokens, "", { config });
  if (rows === 0 || Math.min(...lengths) === 0)
    throw new HeadscopeError("input", "a row has no positions", { remedy: "give every row at least one" });
  const startLayer = input.startLayer ?? 0;
  const stopLayer = input.stopLayer ?? config.n_layers;
  cache?.checkModel(config, stopLayer);
  if (cache && cache.rows !== rows)
    throw new HeadscopeError("usage", `the cache has ${cache.rows} rows, the input ${rows}`, {
      remedy: "make a cache with as many rows",
    });
  const { places } = input;
  if (places) checkPlaces(input, lengths);
  const starts = places ? places.map(([first]) => first!) : cache ? [...cache.lengths] : new Array(rows).fill(0);
  if (cache && (input.keyMask || input.windows))
    throw new HeadscopeError("usage", "a key mask or windows can't be given with a cache", {
      remedy: "give the cache windows of its own",
    });
  checkEntries("positions", input.positions, lengths, whole(0, config.n_ctx - 1));
  checkEntries("keyMask", input.keyMask, lengths, whole(0, 1));
  const blind = input.keyMask?.findIndex((row) => !row.includes(1)) ?? -1;
  if (blind >= 0)
    throw new HeadscopeError("usage", `keyMask of row ${blind} leaves no key to attend to`, {
      remedy: "keep one at least",
    });
  checkWindows(input.windows, config);
  const end = places ? Math.max(...cache!.lengths) : Math.max(...starts) + total;
  checkFits(end, cache ? "the input with what is cached" : "the input", { n_ctx: mostPositions(config) });
  // A state is computed over all positions together; what no cache can hold passes through none in parts.
  const undivided = config.mixer !== undefined || hasUnequalHeads(config);
  const most = undivided ? total : CHUNK;
  const long = total > most;
  if (long && input.keyMask)
    throw new HeadscopeError("unsupported", `a key mask can't be given with ${total} tokens`, {
      remedy: `shorten the input to ${CHUNK} tokens, or pad on the right without a mask`,
    });
  const chunks = Array.from({ length: Math.ceil(total / most) }, (_, c) => {
    const real = Math.min(most, total - c * most);
    return { first: c * most, real, tokens: padded(real) };
  });
  if (!places) cache?.reserve(lengths);
  const scratch =
    !cache && !undivided && (long || attendsInPages({ config, rows, total }, input))
      ? new KvCache(config, { rows, capacity: total, layers: 1 })
      : undefined;
  const plan = { rows, total, lengths, chunks, starts, startLayer, stopLayer, cache, scratch };
  return { ...plan, ...placesOf(plan, config, input) };
}

/** Says that the kernels attend for a whole input with less work than a compiled stage: not for short rows, nor for many, whose pages cost more. */
function attendsInPages(
  { config, rows, total }: { config: ModelConfig; rows: number; total: number },
  { keyMask }: ForwardInput,
): boolean {
  return keyMask === undefined && rows <= 8 && total > 256 && kernelsAttend(config);
}

/** By chunk, the places of an input's tokens in its cache. */
function placesOf(
  plan: Omit<Plan, "places" | "indices">,
  config: ModelConfig,
  { windows, places: among }: ForwardInput,
): Pick<Plan, "places" | "indices" | "pages"> {
  const cache = plan.cache ?? plan.scratch;
  if (!cache) return { places: [], indices: [] };
  const layers = Array.from({ length: plan.stopLayer - plan.startLayer }, (_, i) => plan.startLayer + i);
  const all = layers.map((layer): LayerReach => {
    return { layer: plan.cache ? layer : 0, windows: windows?.[layer], local: localWindow(config, layer) };
  });
  // Layers that use buffers in turn have the same places where they reach as far.
  const keys = all.map((reach, i) => (plan.cache ? `${i}` : JSON.stringify(reach)));
  const unique = [...new Set(keys)];
  const reaches = unique.map((key) => all[keys.indexOf(key)]!);
  const pages = new ChunkPages(cache, Math.max(...plan.chunks.map(({ real }) => real)));
  const held = new Set(reaches.map(({ layer }) => layer));
  if (among) cache.admit(among, held);
  else cache.prepare(plan.lengths, held);
  const places = plan.chunks.map(({ first, real, tokens }) => {
    if (among) return new Places(cache, admitted(among, { first, real, tokens }), reaches, pages);
    const starts = plan.starts.map((start) => start + first);
    const ends = plan.starts.map((start, r) => start + Math.min(plan.lengths[r]!, first + real));
    return new Places(cache, { tokens, starts, ends }, reaches, pages);
  });
  return { places, pages, indices: keys.map((key) => unique.indexOf(key)) };
}

/** A chunk of tokens that lie among others. @param places of all of them, by row */
function admitted(places: NonNullable<ForwardInput["places"]>, { first, real, tokens }: Chunk): NewTokens {
  const among = places.map((row) => ({ positions: row.slice(first, first + real), slots: row.length - first }));
  const starts = among.map(({ positions }) => positions[0]!);
  return { tokens, starts, ends: among.map(({ positions }) => positions.at(-1)! + 1), among };
}

const INPUTS: Rules<ForwardInput> = {
  tokens: ANYTHING,
  inputs: ANYTHING,
  resid: ANYTHING,
  positions: ANYTHING,
  softPrompt: YES_OR_NO,
  places: ANYTHING,
  keyMask: ANYTHING,
  cache: { wants: "a KvCache", fits: (cache) => cache instanceof KvCache },
  startLayer: whole(0),
  stopLayer: whole(0),
  logitsAt: {
    wants: 'positions, "all", "last" or "none"',
    fits: (wanted) => (Array.isArray(wanted) ? wanted.length > 0 : ["all", "last", "none"].includes(wanted as string)),
  },
  windows: ANYTHING,
};

const OPTIONS: Rules<ForwardOptions> = {
  names: { wants: "hook names or a predicate on them", fits: (n) => Array.isArray(n) || typeof n === "function" },
  hooks: { wants: "pairs of a hook name and a function", fits: arePairs },
  interventions: { wants: "a map, as compileInterventions makes it", fits: (map) => map instanceof Map },
  reductions: ANYTHING,
  captured: YES_OR_NO,
  activations: oneOf(["exact", "8bit"]),
  reader: { wants: "a reader of attention", fits: (reader) => typeof reader === "object" },
  onLayer: FUNCTION,
};

function arePairs(hooks: unknown): boolean {
  return Array.isArray(hooks) && hooks.every((pair) => Array.isArray(pair) && typeof pair[1] === "function");
}

/** Checks the options of a forward. @throws HeadscopeError (usage) naming the option */
export function checkForward({ config, changes }: Model, input: ForwardInput, options: ForwardOptions): void {
  checkOptions("forward", input, INPUTS);
  checkOptions("forward", options, OPTIONS);
  const { startLayer = 0, stopLayer = config.n_layers } = input;
  checkSoftPrompt(config, input);
  if (startLayer > stopLayer || stopLayer > config.n_layers)
    throw new HeadscopeError("usage", `a forward can't run from layer ${startLayer} to layer ${stopLayer}`, {
      remedy: `give layers from 0 to ${config.n_layers}, the first not behind the last`,
    });
  const { hooks = [], reductions = [], interventions } = options;
  const layers = Array.from({ length: stopLayer - startLayer }, (_, i) => startLayer + i);
  if (reductions.length > 0) requireAttention(config, "a pattern", layers);
  if (input.keyMask) requireAttention(config, "a mask of keys", layers);
  if (input.windows) {
    requireAttention(config, "a window of keys", layers);
    requireEqualHeads(config, "a window of keys");
  }
  if (config.bottleneck && input.logitsAt !== "none") checkCoded(config, input);
  if (options.reader) requireSoftmax(config, "a policy that chooses what is read");
  if (input.places && hooks.length + reductions.length + (interventions?.size ?? 0) + (changes?.size ?? 0) > 0)
    throw new HeadscopeError(
      "usage",
      "hooks, interventions and reductions know tokens one after the other, not places",
      {
        remedy: "leave them out, or run the tokens without places",
        field: "places",
      },
    );
}

/** @throws HeadscopeError (unsupported) for an input in which the position before each token, or the token itself, is not there */
function checkCoded(config: ModelConfig, { resid, cache, startLayer = 0 }: ForwardInput): void {
  if (cache) requireOpenEnd(config, "a forward with a cache");
  if (resid || startLayer > 0) requireOpenEnd(config, "a forward that begins with a residual stream");
}

/** @throws HeadscopeError for a soft prompt that the caller does not count, one that is not there, and what knows tokens alone */
function checkSoftPrompt(config: ModelConfig, { softPrompt, cache, positions, keyMask }: ForwardInput): void {
  if (!softPrompt) {
    refuseSoftPrompt(config, "a forward");
    return;
  }
  if (config.soft_prompt === undefined)
    throw new HeadscopeError("usage", "this model has no soft prompt", {
      remedy: "leave softPrompt out",
      field: "softPrompt",
    });
  const other = cache ? "a cache" : positions ? "positions" : keyMask ? "a key mask" : undefined;
  if (other)
    throw new HeadscopeError("unsupported", `${other} can't be given with a soft prompt`, {
      remedy: "leave it out, or take the prompt off",
      field: "soft_prompt",
    });
}

/** @throws HeadscopeError (usage) for places that are not ascending, of rows of one length, among those that a cache counts */
function checkPlaces({ cache, places, positions }: ForwardInput, lengths: readonly number[]): void {
  const refuse = (what: string, remedy: string): HeadscopeError =>
    new HeadscopeError("usage", `places ${what}`, { remedy, field: "places" });
  if (!cache || positions) throw refuse("are in a cache, and positions too", "give a cache, and no positions beside");
  if (new Set(lengths).size > 1) throw refuse("are for rows of one length", "run rows of different lengths one by one");
  checkEntries("places", places, lengths, whole(0, Math.min(...cache.lengths) - 1));
  if (places!.some((row) => row.some((place, i) => i > 0 && place <= row[i - 1]!)))
    throw refuse("are not in order", "give them ascending, each once");
}

/** @throws HeadscopeError (usage) for a list by row and token of another shape than the input's, or an entry that does not fit */
function checkEntries(
  name: "positions" | "places" | "keyMask",
  rows: readonly (readonly number[])[] | undefined,
  lengths: readonly number[],
  entry: Rule,
): void {
  if (rows === undefined) return;
  const refuse = (what: string, remedy: string): HeadscopeError =>
    new HeadscopeError("usage", `${name} ${what}`, { remedy });
  if (!Array.isArray(rows) || rows.length !== lengths.length)
    throw refuse(
      `is for ${Array.isArray(rows) ? rows.length : "no"} rows, the input has ${lengths.length}`,
      "give a list for every row",
    );
  rows.forEach((row, r) => {
    if (!Array.isArray(row) || row.length !== lengths[r])
      throw refuse(
        `of row ${r} has ${Array.isArray(row) ? row.length : "no"} entries, the row ${lengths[r]} tokens`,
        "give one for every token",
      );
    const bad = row.findIndex((value) => !entry.fits(value));
    if (bad >= 0) throw refuse(`of row ${r}, token ${bad} cannot be ${row[bad]}`, `give ${entry.wants}`);
  });
}

/** Positions of each row, those of a soft prompt included. */
function lengthsOf(input: ForwardInput, config: ModelConfig): number[] {
  const vectors = input.resid ? 0 : (config.soft_prompt ?? 0);
  return givenLengths(input, config).map((length) => vectors + length);
}

/** Tokens, vectors or streams of each row. */
function givenLengths(input: ForwardInput, { d_input }: ModelConfig): number[] {
  const sources = [input.tokens, input.inputs, input.resid].filter((source) => source !== undefined);
  if (sources.length !== 1) {
    throw new HeadscopeError("usage", "a forward takes either tokens, vectors or a residual stream", {
      remedy: "give one of `tokens`, `inputs` and `resid`",
    });
  }
  if (input.tokens && d_input)
    throw new HeadscopeError("usage", `this model reads vectors of ${d_input} numbers, not token ids`, {
      remedy: "give `inputs`, or a model of tokens",
    });
  if (input.tokens) {
    if (!Array.isArray(input.tokens) || input.tokens.some((row) => !Array.isArray(row) && !ArrayBuffer.isView(row)))
      throw new HeadscopeError("usage", "tokens are no rows of ids", { remedy: "give [[id, id, ...], ...]" });
    return input.tokens.map((row) => row.length);
  }
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
