import type { Stopped } from "../common/api/generation.ts";
import type { Activations, CacheKind } from "../common/words.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import type { Model } from "../models/model.ts";
import type { Continuation } from "./continuation.ts";
import { Draft } from "./decoding/draft.ts";
import type { Proposal } from "./decoding/sampling.ts";
import { checkSpeculative } from "./decoding/speculative.ts";
import { Forwards } from "./forwards.ts";
import type { UsedPolicy } from "./policies/choice.ts";
import type { Prefix } from "./prefix.ts";
import { readPrompts } from "./reading.ts";
import type { CheckedRun, Sequence, StepListener } from "./run/options.ts";

/** A continuation, and what it took. */
export interface Generation {
  /** New tokens; the last may go on in a stop text, where one ended the generation. */
  ids: number[];
  /** Decoded, where the model has a tokenizer, and cut before a stop text. */
  text?: string;
  /** Why it ended. */
  stopped: Stopped;
  cache: {
    /** Bytes allocated for keys and values at the end, and for the states of tokens that wait before a layer; 0 where nothing is cached. */
    bytes: number;
    /** Bytes that full attention allocates for the same tokens. */
    bytesFull: number;
    /** Form of keys and values, where it is not f32. */
    kind?: CacheKind;
    /** The positions held at the end, ascending, by layer and KV head, where heads stream or a policy has let tokens go. */
    kept?: number[][][];
    /** Channels that are left of the keys of the prompt or the prefix, ascending, by layer and KV head, where a policy chooses among them. */
    channels?: number[][][];
    /** Bytes of values that lie outside of the cache, from where what is read is fetched. */
    offloaded?: number;
    /** Mean share of the keys held that a new token read, over the layers' KV heads, where a policy chooses among them. */
    read?: number;
  };
  /** The policies that it ran under, with the parameters used. */
  policies?: readonly UsedPolicy[];
  /** Under a policy for blocks: the share of the prompt's causal attention that was read, mean over layers and heads. */
  prefill?: { read: number };
  /** Precision of the vectors that packed weights were multiplied with, where it was not exact. */
  activations?: Activations;
  /** Of speculative decoding. */
  speculative?: {
    /** Tokens that were drafted. */
    drafted: number;
    /** Those of them that the model has taken. */
    accepted: number;
    /** The share of these; absent where nothing was drafted. */
    rate?: number;
    /** Bytes of the draft's own cache at the end; what full heads share with `cache` counts in both. */
    bytes: number;
  };
  /** Of context-aware decoding: the weight, and tokens of the prompt without its context, whose cache `cache` counts too. */
  contextAware?: { alpha: number; promptTokens: number };
  /** With those of the prefix. */
  promptTokens: number;
  /** Until its prompt was read and is held as policies say, from the beginning of all prompts on. */
  prefillMs: number;
  decodeMsPerToken: number;
  /** Logits of the first new token [d_vocab]. */
  logits: Float32Array;
  /**
   * The tokens that were run, where they were to be kept: the prompt and the new ones, but for the last unless a stop followed it. Of
   * the caller, who disposes it.
   */
  prefix?: Prefix;
}

/** A prompt while it is continued. */
interface Row {
  readonly continuation: Continuation;
  /** Logits of its first new token. */
  readonly first: Float32Array;
  /** Drafted tokens, and the logits of its next token and of what follows each of these. */
  proposals: readonly Proposal[];
  logits: readonly Float32Array[];
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
  checkSpeculative({ ...options, onStep });
  const sequences = continuations.flatMap((continuation) => continuation.sequences);
  const forwards = new Forwards(model, sequences, options, onStep);
  let draft: Draft | undefined;
  let cache: KvCache | undefined;
  let rows: readonly Row[] = [];
  try {
    const read = forwards.caches ? await readPrompts(forwards, sequences, options.prefix?.logits) : undefined;
    const ended = performance.now();
    cache = read && forwards.cut(KvCache.join(read.map((prompt) => prompt.cache)));
    if (cache) await forwards.policies.condense(sequences, cache, forwards.turn);
    const cutting = read ? performance.now() - ended : 0; // of all prompts together, which each waits for
    const begun = read ?? forwards.step(sequences).map((logits) => ({ logits, at: performance.now() }));
    const follow = await runLeads(forwards, continuations, cache);
    rows = bySequences(continuations, begun).map(([continuation, each]): Row => {
      const logits = follow ?? continuation.combined(each.map(({ logits }) => logits));
      const at = Math.max(...each.map(({ at }) => at));
      return { continuation, first: logits, logits: [logits], proposals: [], prefillMs: at - began + cutting };
    });
    if (cache && options.speculative) draft = new Draft(model, continuations, options, cache);
    await decode(rows, { forwards, cache, draft, keep: options.keep === true });
    return rows.map(({ result }) => result!);
  } catch (error) {
    for (const { result } of rows) result?.prefix?.dispose();
    throw error;
  } finally {
    draft?.dispose();
    cache?.dispose();
    forwards.dispose();
  }
}

/** Runs what stands before the new tokens of a prompt, where something does. @returns logits behind it [d_vocab] */
async function runLeads(
  forwards: Forwards,
  [continuation]: readonly Continuation[],
  cache: KvCache | undefined,
): Promise<Float32Array | undefined> {
  if (!cache || continuation!.lead.length === 0) return undefined;
  return (await forwards.follow(continuation!, cache, continuation!.lead)).at(-1);
}

/** Continuations with what belongs to the sequences of each. @param all by sequence */
function bySequences<T>(continuations: readonly Continuation[], all: readonly T[]): [Continuation, T[]][] {
  let first = 0;
  return continuations.map((continuation) => {
    const { length } = continuation.sequences;
    first += length;
    return [continuation, all.slice(first - length, first)];
  });
}

/** The way that rows take through a model. */
interface Way {
  readonly forwards: Forwards;
  readonly cache: KvCache | undefined;
  readonly draft: Draft | undefined;
  /** Caches of rows outlive the run. */
  readonly keep: boolean;
}

/** Runs a token of each row at a time, and what was drafted behind it, until all have ended. */
async function decode(rows: readonly Row[], { forwards, cache, draft, keep }: Way): Promise<void> {
  const began = performance.now();
  let active = rows;
  for (;;) {
    const going = active.map(({ continuation, logits, proposals }) => continuation.next(logits, proposals));
    if (draft) cache?.truncate(active.map(({ continuation: { prompt, chosen } }) => prompt.length + chosen - 1));
    const took = performance.now() - began;
    const continuations = active.map(({ continuation }) => continuation);
    const sequences = continuations.flatMap((continuation) => continuation.sequences);
    const cached = bySequences(continuations, [...sequences.keys()]).map(([, places]) => places);
    active.forEach((row, r) => {
      if (going[r]) return;
      const facts = {
        ...forwards.facts,
        ...forwards.policies.prefill(row.continuation.number),
        cache: heldBy(forwards, row.continuation.sequences, cache, cached[r]!),
        ...draftOf(row, r, draft),
      };
      row.result = resultOf(row, took / Math.max(1, row.continuation.chosen - 1), facts);
      if (cache && keep) row.result.prefix = forwards.keep(row.continuation, cache, cached[r]![0]!, row.logits.at(-1)!);
    });
    const places = [...going.keys()].filter((r) => going[r]);
    if (places.length === 0) return;
    if (places.length < active.length) {
      cache?.take(places.flatMap((r) => cached[r]!));
      draft?.take(places);
    }
    active = places.map((r) => active[r]!);
    // Lets a cancel or a progress display through between tokens.
    await forwards.turn();
    step(active, { forwards, cache, draft, keep });
  }
}

/** Runs the last token of each row, and what is drafted behind it. */
function step(rows: readonly Row[], { forwards, cache, draft }: Way): void {
  const continuations = rows.map(({ continuation }) => continuation);
  const proposals = draft?.propose(continuations);
  const sequences = continuations.flatMap((continuation) => continuation.sequences);
  const last = sequences.map(({ all }) => all.slice(-1));
  const logits =
    cache && proposals
      ? forwards.steps(
          continuations,
          cache,
          last.map((ids, r) => [...ids, ...proposals[r]!.map(({ id }) => id)]),
        )
      : bySequences(continuations, forwards.step(sequences, cache, cache && last)).map(([continuation, each]) => [
          continuation.combined(each),
        ]);
  rows.forEach((row, r) => {
    row.logits = logits[r]!;
    row.proposals = proposals?.[r] ?? [];
  });
}

/** Success of a row's draft. */
function draftOf({ continuation }: Row, row: number, draft: Draft | undefined): Pick<Generation, "speculative"> {
  if (!draft) return {};
  const { drafted, accepted } = continuation.draft;
  const rate = drafted > 0 ? { rate: accepted / drafted } : {};
  return { speculative: { drafted, accepted, ...rate, bytes: draft.bytes(row) } };
}

/**
 * Memory of the sequences of one prompt at the end; the positions, and what was read, are those of the first.
 * @param rows of the cache, by sequence
 */
export function heldBy(
  { policies }: Forwards,
  sequences: readonly Sequence[],
  cache: KvCache | undefined,
  rows: readonly number[],
): Generation["cache"] {
  if (!cache) return { bytes: 0, bytesFull: 0 };
  const read = policies.shareRead(sequences[0]!);
  const forms = sequences.flatMap((sequence) => policies.condensed(sequence) ?? []);
  const waiting = sequences.flatMap((sequence) => policies.layerPruning(sequence) ?? []);
  const [own, ...others] = rows.map((row) => cache.fork(row)) as [KvCache, ...KvCache[]];
  const { kind, windows } = own;
  const total = (list: readonly number[]): number => list.reduce((sum, bytes) => sum + bytes, 0);
  const bytes = total([own, ...others, ...forms, ...waiting].map((each) => each.bytes));
  const bytesFull = total([own, ...others].map((each) => each.bytesFull));
  const all = Array.from({ length: own.seen[0]! }, (_, position) => position);
  const positions = windows.map((heads, layer) =>
    heads.map((_, g) => (forms[0]?.holds(layer, g) ? all : own.tokens(layer, 0, g))),
  );
  const whole = positions.flat().every((held) => held.length === all.length);
  const kept = whole && !windows.flat().some(Boolean) ? undefined : positions;
  const channels = own.channels(0);
  const offloaded = forms.flatMap((form) => form.offloaded ?? []);
  for (const each of [own, ...others]) each.dispose();
  return {
    bytes,
    bytesFull,
    ...(offloaded.length > 0 ? { offloaded: total(offloaded) } : {}),
    ...(kind === "f32" ? {} : { kind }),
    ...(kept ? { kept } : {}),
    ...(read === undefined ? {} : { read }),
    ...(channels ? { channels } : {}),
  };
}

function resultOf(
  { continuation, first, prefillMs }: Row,
  decodeMsPerToken: number,
  facts: Pick<Generation, "cache" | "activations" | "policies" | "prefill" | "speculative">,
): Generation {
  const { ids, text, stopped, prompt, alpha, sequences } = continuation;
  const [, without] = sequences;
  return {
    ids,
    ...(text === undefined ? {} : { text }),
    stopped: stopped!,
    ...facts,
    ...(without ? { contextAware: { alpha, promptTokens: without.prompt.length } } : {}),
    promptTokens: prompt.length,
    prefillMs,
    decodeMsPerToken,
    logits: first,
  };
}
