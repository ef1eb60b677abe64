import type { Stopped } from "../common/api/generation.ts";
import type { Activations, CacheKind } from "../common/words.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import type { Model } from "../models/model.ts";
import type { Continuation } from "./continuation.ts";
import { type CheckedRun, Forwards, type StepListener } from "./forwards.ts";
import type { UsedPolicy } from "./policies/choice.ts";
import { readPrompts } from "./reading.ts";

/** A continuation, and what it took. */
export interface Generation {
  /** New tokens; the last may go on in a stop text, where one ended the generation. */
  ids: number[];
  /** Decoded, where the model has a tokenizer, and cut before a stop text. */
  text?: string;
  /** Why it ended. */
  stopped: Stopped;
  cache: {
    /** Bytes allocated for keys and values at the end; 0 where nothing is cached. */
    bytes: number;
    /** Bytes that full attention allocates for the same tokens. */
    bytesFull: number;
    /** Form of keys and values, where it is not f32. */
    kind?: CacheKind;
    /** The positions held at the end, ascending, by layer and KV head, where heads stream or a policy has let tokens go. */
    kept?: number[][][];
  };
  /** The policies that it ran under, with the parameters used. */
  policies?: readonly UsedPolicy[];
  /** Precision of the vectors that packed weights were multiplied with, where it was not exact. */
  activations?: Activations;
  /** With those of the prefix. */
  promptTokens: number;
  /** Until its prompt was read, from the beginning of all prompts on. */
  prefillMs: number;
  decodeMsPerToken: number;
  /** Logits of the first new token [d_vocab]. */
  logits: Float32Array;
}

/** A prompt while it is continued. */
interface Row {
  readonly continuation: Continuation;
  /** Logits of its first new token, and of its next one. */
  readonly first: Float32Array;
  logits: Float32Array;
  readonly prefillMs: number;
  result?: Generation;
}

/**
 * Continues prompts to their ends, all together.
 * @returns in the order of the continuations
 * @throws HeadscopeError (input) for logits that are no numbers, others as `Forwards` does, and what the signal is aborted with
 */
export async function continueAll(
  model: Model,
  continuations: readonly Continuation[],
  options: CheckedRun,
  onStep: StepListener | undefined,
): Promise<Generation[]> {
  const began = performance.now();
  const forwards = new Forwards(model, continuations, options, onStep);
  let cache: KvCache | undefined;
  try {
    const read = forwards.caches ? await readPrompts(forwards, continuations, options.prefix?.logits) : undefined;
    cache = read && forwards.cut(KvCache.join(read.map((prompt) => prompt.cache)));
    const begun = read ?? forwards.step(continuations).map((logits) => ({ logits, at: performance.now() }));
    const rows = continuations.map((continuation, r): Row => {
      const { logits, at } = begun[r]!;
      return { continuation, first: logits, logits, prefillMs: at - began };
    });
    await decode(forwards, rows, cache);
    return rows.map(({ result }) => result!);
  } finally {
    cache?.dispose();
    forwards.dispose();
  }
}

/** Runs a token of each row at a time, until all have ended. */
async function decode(forwards: Forwards, rows: readonly Row[], cache: KvCache | undefined): Promise<void> {
  const began = performance.now();
  let active = rows;
  for (let steps = 0; ; steps++) {
    const going = active.map(({ continuation, logits }) => continuation.next(logits));
    const perToken = steps === 0 ? 0 : (performance.now() - began) / steps;
    active.forEach((row, r) => {
      if (!going[r]) row.result = resultOf(row, perToken, { ...forwards.facts, cache: heldBy(cache, r) });
    });
    const places = [...going.keys()].filter((r) => going[r]);
    if (places.length === 0) return;
    if (places.length < active.length) cache?.take(places);
    active = places.map((r) => active[r]!);
    // Lets a cancel or a progress display through between tokens.
    await forwards.turn();
    const continuations = active.map(({ continuation }) => continuation);
    const logits = forwards.step(continuations, cache, cache && continuations.map(({ all }) => all.slice(-1)));
    active.forEach((row, r) => {
      row.logits = logits[r]!;
    });
  }
}

/** Memory of a row of a cache at the end. */
function heldBy(cache: KvCache | undefined, row: number): Generation["cache"] {
  if (!cache) return { bytes: 0, bytesFull: 0 };
  const own = cache.fork(row);
  const { bytes, bytesFull, kind, windows } = own;
  const positions = windows.map((heads, layer) => heads.map((_, g) => own.positions(layer, 0, g)));
  const whole = positions.flat().every((held) => held.length === own.lengths[0]);
  const kept = whole && !windows.flat().some(Boolean) ? undefined : positions;
  own.dispose();
  return { bytes, bytesFull, ...(kind === "f32" ? {} : { kind }), ...(kept ? { kept } : {}) };
}

function resultOf(
  { continuation, first, prefillMs }: Row,
  decodeMsPerToken: number,
  facts: Pick<Generation, "cache" | "activations" | "policies">,
): Generation {
  const { ids, text, stopped, prompt } = continuation;
  return {
    ids,
    ...(text === undefined ? {} : { text }),
    stopped: stopped!,
    ...facts,
    promptTokens: prompt.length,
    prefillMs,
    decodeMsPerToken,
    logits: first,
  };
}
