import { HeadscopeError } from "../common/errors.ts";
import type { MaskMeaning } from "../common/heads/meaning.ts";
import type { Activations } from "../common/words.ts";
import { allFinite, notFinite } from "../hooks/finite.ts";
import { checkStandsAlone } from "../hooks/intervened-model.ts";
import { type Intervention, parseInterventions } from "../hooks/intervention-schema.ts";
import { compileInterventions, disposeInterventions, mergeInterventions, zeroHeads } from "../hooks/interventions.ts";
import { maskMeaning } from "../hooks/mask-meaning.ts";
import type { CacheForm } from "../models/cache/forms/form.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import { survives } from "../models/cache/window.ts";
import { forward } from "../models/forward/forward.ts";
import type { Affine, ForwardOptions, ForwardResult } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";
import type { PolicyChoice } from "./policies/choice.ts";
import { checkSuits } from "./policies/suits.ts";
import { Prefix } from "./prefix.ts";
import {
  checkCoded,
  checkContext,
  checkInputs,
  checkKeep,
  checkPrefix,
  checkRerotation,
  refuseCached,
} from "./run/checks.ts";
import { type CheckedRun, type GrowingSequence, PART, type Sequence, type StepListener } from "./run/options.ts";
import { PolicyRun } from "./run/policy-run.ts";

/** Tokens of a cache's capacity come in steps of this many. */
const CAPACITY_STEP = 32;
/** Given tokens behind a prompt that go through a model together. */
const TOGETHER = 64;

/** The forwards of prompts that are continued together: under the same interventions, with caches of one form. */
export class Forwards {
  readonly #model: Model;
  readonly #options: CheckedRun;
  readonly #onStep: StepListener | undefined;
  readonly #several: boolean;
  readonly #capacity: number;
  readonly #compiled: ReadonlyMap<string, Affine>;
  readonly #requests: ForwardOptions;
  /** Lets others in, and a cancel. */
  readonly turn: Turn;
  /** The interventions that all runs are under, as JSON. */
  readonly changes: string;
  /** By layer and KV head, what a streaming head keeps; undefined where all are full. */
  readonly windows: MaskMeaning["windows"] | undefined;
  /** Policies at work on the prompts. */
  readonly policies: PolicyRun;

  /**
   * @param sequences the prompts, at their beginning
   * @throws HeadscopeError for prompts that do not fit, a mask of another shape, a prefix of another run, interventions that cannot be
   */
  constructor(model: Model, sequences: readonly Sequence[], options: CheckedRun, onStep?: StepListener) {
    this.#model = model;
    this.#options = options;
    this.#onStep = onStep;
    this.#several = sequences.length > 1;
    this.turn = options.turn ?? loopTurn(options.signal);
    const longest = Math.max(...sequences.map((sequence) => checkContext(model, sequence, options)));
    this.#capacity = options.keep ? model.config.n_ctx : Math.ceil(longest / CAPACITY_STEP) * CAPACITY_STEP;
    if (options.choice) checkSuits(model, options.choice);
    const meaning = options.mask && maskMeaning(model, options.mask);
    this.windows = meaning?.streaming.length ? meaning.windows : undefined;
    const list = parseInterventions([...zeroHeads(meaning?.ablated ?? []), ...(options.interventions ?? [])]);
    this.changes = JSON.stringify(list);
    if (options.activations === "8bit") checkCoded(model);
    const { tokens } = options.choice ?? {};
    if (tokens?.params.rerotate) checkRerotation(model, options, this.windows);
    if (options.keep) checkKeep(options);
    if (options.choice?.inputs) checkInputs(model, options);
    if (!this.caches) refuseCached(options, this.windows !== undefined);
    options.prefix?.check(model, this.changes);
    if (options.prefix) checkPrefix(options.prefix, options, this.cutsLater ? undefined : this.windows);
    this.policies = new PolicyRun(model, sequences, options, this.windows);
    this.#compiled = this.#compile(list, sequences, longest);
    try {
      this.#requests = this.#requestsWith(this.#compiled);
    } catch (error) {
      this.dispose();
      throw error;
    }
  }

  /** True where keys and values are cached. */
  get caches(): boolean {
    return this.#options.useCache ?? true;
  }

  /** True where prompts are read with all heads full, and cut to the windows afterwards. */
  get cutsLater(): boolean {
    return this.windows !== undefined && this.#options.prefill === "dense";
  }

  /** True where streaming heads are cut at the end of the prompt, and grow from there. */
  get cutsOnce(): boolean {
    return this.windows !== undefined && this.#options.choice?.heads?.once === true;
  }

  /** True where somebody sees the forwards of prompts, each of which then is one. */
  get seenWhole(): boolean {
    const { names = [], hooks = [], reductions = [] } = this.#options.forward ?? {};
    return Boolean(this.#onStep) || typeof names === "function" || names.length + hooks.length + reductions.length > 0;
  }

  /** True where each prompt is read by itself, whatever others begin with. */
  get readsApart(): boolean {
    return this.seenWhole || this.policies.readsApart;
  }

  /** Precision of products with packed weights, where it is not the usual one. */
  get precision(): { activations?: Activations } {
    const { activations = "exact" } = this.#options;
    return activations === "exact" ? {} : { activations };
  }

  /** Facts that a result states of the way it came about. */
  get facts(): { activations?: Activations; policies?: PolicyChoice["used"] } {
    const { used = [] } = this.#options.choice ?? {};
    return { ...this.precision, ...(used.length > 0 ? { policies: used } : {}) };
  }

  /** A cache of one row to begin with: empty, or the prefix. */
  begin(): KvCache {
    const { prefix } = this.#options;
    const { form } = this.policies;
    if (prefix) {
      const cache = prefix.cache.fork();
      if (form) setForm(cache, form);
      return cache;
    }
    const windows = this.cutsLater ? undefined : this.windows;
    const options = {
      capacity: this.#capacity,
      kind: this.#options.cache ?? "f32",
      form,
      ...(windows ? { windows } : {}),
    };
    return new KvCache(this.#model.config, options);
  }

  /** The cache of prompts that were read, as it goes on from there; takes it over. */
  cut(read: KvCache): KvCache {
    const cut = this.#cut(read);
    cut.encode();
    return cut;
  }

  #cut(read: KvCache): KvCache {
    if (!this.windows || !this.cutsLater) return read;
    if (this.policies.slides(read, this.windows)) return read;
    if (this.cutsOnce) return cutOnce(read, this.windows);
    const cut = read.streaming(this.windows);
    read.dispose();
    return cut;
  }

  /**
   * Reads what a cache of one row does not hold yet of a prompt: part after part, where others may have their turn between.
   * @returns logits of its first new token [d_vocab]
   */
  async finish(sequence: Sequence, cache: KvCache): Promise<Float32Array> {
    const { prompt } = sequence;
    const chosen = this.policies.choosesInputs(sequence, this.#requests);
    if (chosen) return this.step([sequence], cache, [chosen.map((place) => prompt[place]!)])[0]!;
    if (this.policies.layerPruning(sequence)) return this.step([sequence], cache, [prompt])[0]!;
    const ends = this.#partEnds(sequence, cache.seen[0]!);
    for (const end of ends.slice(0, -1)) {
      const tokens = [prompt.slice(cache.seen[0]!, end)];
      const result = forward(
        this.#model,
        { tokens, cache, logitsAt: "none" },
        this.policies.requests([sequence], this.#requests, false),
      );
      this.policies.readPart(sequence, result, cache);
      result.dispose();
      await this.turn();
    }
    return this.step([sequence], cache, [prompt.slice(cache.seen[0]!)])[0]!;
  }

  /**
   * Runs the next tokens of sequences together; without a cache all of theirs.
   * @param tokens by sequence those that the cache does not hold yet
   * @returns by sequence, logits of what follows [d_vocab]
   * @throws HeadscopeError (input) for logits that are no numbers, with the place where they arose
   */
  step(sequences: readonly Sequence[], cache?: KvCache, tokens?: readonly (readonly number[])[]): Float32Array[] {
    return this.#logits(sequences, cache, tokens).map(([only]) => only!);
  }

  /**
   * Runs as many next tokens of each sequence together.
   * @returns by sequence, logits of what follows each of these tokens [d_vocab]
   * @throws as `step` does
   */
  steps(sequences: readonly Sequence[], cache: KvCache, tokens: readonly (readonly number[])[]): Float32Array[][] {
    return this.#logits(sequences, cache, tokens, "all");
  }

  /**
   * Runs given tokens behind a prompt as if they had been chosen: one at a time where a policy acts at each new token.
   * @param sequence to whose tokens they are added
   * @param cache of one row
   * @returns logits of what follows each of them [d_vocab]
   * @throws as `step` does
   */
  async follow(sequence: GrowingSequence, cache: KvCache, tokens: readonly number[]): Promise<Float32Array[]> {
    const size = this.policies.actsAtEach ? 1 : TOGETHER;
    const logits: Float32Array[] = [];
    for (let first = 0; first < tokens.length; first += size) {
      const part = tokens.slice(first, first + size);
      sequence.all.push(...part);
      logits.push(...this.steps([sequence], cache, [part])[0]!);
      await this.turn();
    }
    return logits;
  }

  #logits(
    sequences: readonly Sequence[],
    cache: KvCache | undefined,
    tokens: readonly (readonly number[])[] | undefined,
    logitsAt: "last" | "all" = "last",
  ): Float32Array[][] {
    const pruning = cache && this.policies.layerPruning(sequences[0]!);
    if (pruning && sequences.length > 1)
      // Each has tokens of its own in each layer.
      return sequences.flatMap((each, r) => this.#logits([each], cache.rowOf(r), [tokens![r]!], logitsAt));
    const whole = ({ prompt, all }: Sequence): number[] => [...prompt, ...all];
    const input = cache
      ? { tokens: tokens!, cache }
      : { tokens: sequences.map(whole), ...(this.windows ? { windows: this.windows } : {}) };
    if (sequences[0]!.all.length > 0) this.policies.advance(sequences, cache);
    const run = (options: ForwardOptions): ForwardResult =>
      pruning ? pruning.run(tokens![0]!, cache, options) : forward(this.#model, { ...input, logitsAt }, options);
    const options = this.policies.requests(sequences, this.#requests, true);
    const result = cache ? this.policies.readPrompt(sequences, tokens!, options, run) : run(options);
    const [, positions, width] = result.logits!.shape as [number, number, number];
    const numbers = result.logits!.dataSync() as Float32Array;
    const step = sequences[0]!.all.length;
    this.#onStep?.(result, step, sequences.map(({ number }) => number)); // biome-ignore format: one call
    if (cache) this.policies.see(sequences, result, cache);
    if (cache && step > 0) cache.encode();
    result.dispose();
    const vector = (i: number): Float32Array => numbers.subarray(i * width, (i + 1) * width);
    const rows = sequences.map((_, r) => Array.from({ length: positions }, (_, p) => vector(r * positions + p)));
    const broken = rows.findIndex((row) => !row.every(allFinite));
    if (broken < 0) return rows;
    const of = this.#several ? ` of prompt ${sequences[broken]!.number}` : "";
    const { interventions, hooks = [] } = this.#requests;
    throw notFinite(this.#model, `the logits of new token ${step}${of}`, [whole(sequences[broken]!)], {
      interventions: interventions!,
      hooks,
    });
  }

  /** A sequence as it was run, to go on from. @param row of the cache @param logits of what follows @returns of the caller's */
  keep(sequence: Sequence, cache: KvCache, row: number, logits: Float32Array): Prefix {
    const tokens = [...sequence.prompt, ...sequence.all].slice(0, cache.seen[row]!);
    const known = this.policies.known(sequence);
    return new Prefix(this.#model, { tokens, cache: cache.fork(row), logits, changes: this.changes, known });
  }

  /** Frees the interventions, and what policies know. */
  dispose(): void {
    disposeInterventions(this.#compiled);
    this.policies.dispose();
  }

  /** Ends of the parts in which the rest of a prompt is read. @param read tokens that the cache holds */
  #partEnds({ number, prompt }: Sequence, read: number): number[] {
    const { looks, last } = this.policies.looksAt(number);
    if (this.seenWhole || this.policies.readsAtOnce || !(this.#options.turn || looks)) return [prompt.length];
    const ends = [];
    for (let end = read + PART; end < prompt.length - last; end += PART) ends.push(end);
    if (last > 0 && prompt.length - last > read) ends.push(prompt.length - last);
    return [...ends, prompt.length];
  }

  #requestsWith(compiled: ReadonlyMap<string, Affine>): ForwardOptions {
    const { forward: own, signal } = this.#options;
    const given = own?.interventions ?? new Map<string, Affine>();
    const ofRows = this.#several ? [...given].find(([, affine]) => rowsOf(affine) > 1) : undefined;
    if (ofRows)
      throw new HeadscopeError("usage", `the compiled interventions at ${ofRows[0]} are for rows of a batch`, {
        remedy: "compile them for one row, which then holds for every prompt, or give one prompt at a time",
      });
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      own?.onLayer?.(layer);
    };
    const interventions = mergeInterventions(compiled, given);
    return { ...own, ...this.precision, interventions, onLayer };
  }

  #compile(list: readonly Intervention[], sequences: readonly Sequence[], positions: number): Map<string, Affine> {
    const longest = sequences.reduce((a, b) => (b.prompt.length > a.prompt.length ? b : a)).prompt;
    const ragged = sequences.some(({ prompt }) => prompt.length !== longest.length);
    for (const each of this.#several ? list : []) {
      checkStandsAlone(each, "every prompt");
      const { at, do: kind, with: source } = each;
      if (ragged && typeof source === "object" && !Array.isArray(source))
        throw new HeadscopeError(
          "usage",
          `"${kind}" at ${at} takes a run's activations, and prompts differ in length`,
          {
            remedy: "give numbers, prompts of one length, or one prompt at a time",
            subject: at,
          },
        );
    }
    const run = { ...this.#options.sources, rows: 1, positions };
    return compileInterventions(this.#model, list, { ...run, tokens: [longest] });
  }
}

/** Gives a fork of a prefix a form; frees it where it has another. */
function setForm(cache: KvCache, form: CacheForm): void {
  try {
    cache.setForm(form);
  } catch (error) {
    cache.dispose();
    throw error;
  }
}

/** Rows of a chain of interventions; 1 where they hold for all alike. */
function rowsOf({ gain, bias, before }: Affine): number {
  return Math.max(gain.shape[0] ?? 1, bias.shape[0] ?? 1, before ? rowsOf(before) : 1);
}

/** Cuts streaming heads to what their windows hold now; from here on they grow. */
export function cutOnce(cache: KvCache, windows: MaskMeaning["windows"]): KvCache {
  cache.lengths.forEach((length, row) => {
    windows.forEach((heads, layer) => {
      heads.forEach((window, head) => {
        if (!window) return;
        const held = cache.positions(layer, row, head);
        const stay = held.filter((position) => survives(position, length, window));
        if (stay.length < held.length) cache.evict(layer, row, head, stay);
      });
    });
  });
  return cache;
}
