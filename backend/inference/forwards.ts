import { HeadscopeError } from "../common/errors.ts";
import type { HeadMask } from "../common/heads/mask.ts";
import type { MaskMeaning } from "../common/heads/meaning.ts";
import { ANYTHING, FUNCTION, oneOf, type Rules, YES_OR_NO } from "../common/options.ts";
import { ACTIVATIONS, type Activations, CACHE_KINDS, type CacheKind, PREFILLS, type Prefill } from "../common/words.ts";
import { allFinite, notFinite } from "../hooks/finite.ts";
import { checkStandsAlone } from "../hooks/intervened-model.ts";
import { type Intervention, parseInterventions } from "../hooks/intervention-schema.ts";
import {
  compileInterventions,
  disposeInterventions,
  mergeInterventions,
  type Sources,
  zeroHeads,
} from "../hooks/interventions.ts";
import { maskMeaning } from "../hooks/mask-meaning.ts";
import { SQUARE } from "../kernels/attend.ts";
import { formatOf } from "../kernels/formats.ts";
import { loadKernels } from "../kernels/kernels.ts";
import type { CacheForm } from "../models/cache/forms/form.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import type { AttentionReader } from "../models/cache/reader.ts";
import { survives } from "../models/cache/window.ts";
import { forward } from "../models/forward/forward.ts";
import type { Affine, ForwardOptions, ForwardResult } from "../models/forward/types.ts";
import type { Model } from "../models/model.ts";
import { Matrix } from "../models/weights/matrix.ts";
import { partTensors } from "../models/weights/weights.ts";
import { loopTurn, type Turn } from "../runtime/turn.ts";
import type { SpeculativeOptions } from "./decoding/speculative.ts";
import { checkPrompt, type PolicyChoice, type PolicyRequest } from "./policies/choice.ts";
import { SlidingHeads } from "./policies/heads/sliding-heads.ts";
import { chosenInputs } from "./policies/inputs/chosen-inputs.ts";
import { type Budget, kept } from "./policies/kinds/parameters.ts";
import { joinReaders, PromptReader, type PromptReadListener } from "./policies/prompt/reader.ts";
import { checkBehind } from "./policies/work/behind-prefix.ts";
import { ChannelPruning } from "./policies/work/channel-pruning.ts";
import { Condensation } from "./policies/work/condensation.ts";
import { Eviction, type EvictionExtent } from "./policies/work/eviction.ts";
import { checkRotates } from "./policies/work/rerotation.ts";
import { readerOf, Selection } from "./policies/work/selection.ts";
import { Prefix } from "./prefix.ts";

/** The way of prompts through a model, the same for all that are continued together. */
export interface RunOptions {
  /** Its streaming heads keep the mask's sink and recent tokens only, its ablated heads write 0; default all heads are full. */
  mask?: HeadMask | undefined;
  /** Reach of the mask's windows: during the prompt too ("masked", as DuoAttention), or from the first new token on ("dense"). */
  prefill?: Prefill | undefined;
  /** Ways to hold less, each with its parameters: heads are chosen before the tokens in them. */
  policies?: readonly PolicyRequest[] | undefined;
  /** Interventions as data, in every forward. Their positions are those of the sequence: the prompt, then the new tokens. */
  interventions?: readonly Intervention[] | undefined;
  /** Activations that `with` of the interventions refers to. */
  sources?: Sources | undefined;
  /** False runs the whole sequence again for every token instead of caching keys and values. Default true. */
  useCache?: boolean | undefined;
  /** Form of the cached keys and values, default "f32" or the prefix's own; the narrower ones need the kernels. */
  cache?: CacheKind | undefined;
  /** "8bit" rounds the vectors that packed weights are multiplied with, which needs the kernels; default "exact". */
  activations?: Activations | undefined;
  /** Drafts tokens with the same model on a masked cache; what is chosen stays the model's own choice. */
  speculative?: SpeculativeOptions | undefined;
  /**
   * Tokens read already, before every prompt, which then may be empty; it is left as it is. A policy for tokens chooses among them
   * too, as the prompt behind them ends; one that the prefix was read under chooses no more unless it is given again.
   */
  prefix?: Prefix | undefined;
  /** Keeps what was read and written, as `prefix` of the result, to go on from there; whoever has it disposes it. Default false. */
  keep?: boolean | undefined;
  /** Activations, hooks, compiled interventions and reductions of every forward. */
  forward?: ForwardOptions | undefined;
  /** Sees what a policy for blocks lets a prompt read, by layer, just before it does; layers that are read whole are not told. */
  onPromptRead?: PromptReadListener | undefined;
  signal?: AbortSignal | undefined;
  /**
   * Lets others in between tokens, and between parts of a long prompt, which is then read part after part; one that `onStep`,
   * hooks or reductions see is read whole.
   */
  turn?: Turn | undefined;
}

/** Rules of `RunOptions`. */
export const RUN_OPTIONS: Rules<RunOptions> = {
  mask: { wants: "a mask, as readMask and maskFromScores give it", fits: isObject },
  prefill: oneOf(PREFILLS),
  policies: { wants: "a list such as [{ name, params }]", fits: Array.isArray },
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  sources: ANYTHING,
  useCache: YES_OR_NO,
  cache: oneOf(CACHE_KINDS),
  activations: oneOf(ACTIVATIONS),
  speculative: { wants: "an object with the mask of the draft", fits: isObject },
  prefix: { wants: "a prefix, as readPrefix and loadCache give it", fits: (prefix) => prefix instanceof Prefix },
  keep: YES_OR_NO,
  forward: { wants: "options of a forward", fits: isObject },
  onPromptRead: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

/** Sees a forward's result before it is freed: step 0 is the prompt. @param prompts by row of the result, the number of its prompt */
export type StepListener = (result: ForwardResult, step: number, prompts: readonly number[]) => void;

/** A prompt with the tokens that have come behind it so far. */
export interface Sequence {
  /** Its number among the prompts. */
  readonly number: number;
  readonly prompt: readonly number[];
  readonly maxTokens: number;
  /** New tokens. */
  readonly all: readonly number[];
}

/** Tokens of a cache's capacity come in steps of this many. */
const CAPACITY_STEP = 32;
/** Tokens of the parts of a prompt between which others have their turn: as many as go through a layer together. */
export const PART = 512;

/** The same with its policies checked: a choice of heads stands in the mask. */
export interface CheckedRun extends Omit<RunOptions, "policies"> {
  readonly choice?: PolicyChoice | undefined;
}

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
  /** By number of the prompt, what is at work on its tokens. */
  readonly #evictions = new Map<number, Eviction>();
  /** By number of the prompt, the share of its attention that was read under a policy for blocks. */
  readonly #shares = new Map<number, number>();
  readonly #selections = new Map<number, Selection>();
  readonly #condensations = new Map<number, Condensation>();
  readonly #prunings = new Map<number, ChannelPruning>();
  readonly #sliding = new Map<number, SlidingHeads>();
  /** Of the prompts, in the order of the rows in which they are read. */
  readonly #numbers: readonly number[];
  /** By number of the prompt, the places of the tokens that the whole model reads, where a policy has left some out. */
  readonly #inputs = new Map<number, readonly number[]>();

  /**
   * @param sequences the prompts, at their beginning
   * @throws HeadscopeError for prompts that do not fit, a mask of another shape, a prefix of another run, interventions that cannot be
   */
  constructor(model: Model, sequences: readonly Sequence[], options: CheckedRun, onStep?: StepListener) {
    this.#model = model;
    this.#options = options;
    this.#onStep = onStep;
    this.#several = sequences.length > 1;
    this.#numbers = sequences.map(({ number }) => number);
    this.turn = options.turn ?? loopTurn(options.signal);
    const longest = Math.max(...sequences.map((sequence) => checkContext(model, sequence, options)));
    this.#capacity = options.keep ? model.config.n_ctx : Math.ceil(longest / CAPACITY_STEP) * CAPACITY_STEP;
    const meaning = options.mask && maskMeaning(model, options.mask);
    this.windows = meaning?.streaming.length ? meaning.windows : undefined;
    const list = parseInterventions([...zeroHeads(meaning?.ablated ?? []), ...(options.interventions ?? [])]);
    this.changes = JSON.stringify(list);
    if (options.activations === "8bit") checkCoded(model);
    const { tokens } = options.choice ?? {};
    tokens?.policy.check?.(model, tokens.params, tokens.prepared);
    if (tokens?.params.rerotate) this.#checkRerotation(tokens.params);
    if (options.keep) checkKeep(options);
    if (options.choice?.inputs) checkInputs(model, options);
    if (!this.caches) refuseCached(options, this.windows !== undefined);
    const { blocks } = options.choice ?? {};
    blocks?.policy.check?.(model, blocks.params, blocks.prepared);
    options.prefix?.check(model, this.changes);
    if (options.prefix) this.#checkPrefix(options.prefix.cache);
    for (const sequence of sequences) this.#startPolicies(sequence);
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
    if (this.#options.choice?.inputs) return true;
    const selections = [...this.#selections.values()];
    return (
      this.seenWhole ||
      this.evicts ||
      this.#prunings.size > 0 ||
      this.#readsAtOnce ||
      selections.some(({ looks }) => looks)
    );
  }

  /** True where a policy chooses what a prompt's queries read, for which it sees all of them. */
  get #readsAtOnce(): boolean {
    return this.#options.choice?.blocks !== undefined;
  }

  /** Facts of the way a prompt was read. @param number of the prompt */
  prefill(number: number): { prefill?: { read: number } } {
    const read = this.#readsAtOnce ? (this.#shares.get(number) ?? 1) : undefined;
    return read === undefined ? {} : { prefill: { read } };
  }

  /** True where a policy chooses the tokens that stay. */
  get evicts(): boolean {
    return this.#options.choice?.tokens !== undefined;
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

  /** Mean share that a sequence's new tokens have read of the keys held, where a policy chooses. */
  shareRead({ number }: Sequence): number | undefined {
    return this.#selections.get(number)?.share;
  }

  /** A cache of one row to begin with: empty, or the prefix. */
  begin(): KvCache {
    const { prefix } = this.#options;
    const form = this.#form;
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
    if (this.#options.choice?.heads?.slides) return this.#startSliding(read, this.windows);
    if (this.cutsOnce) return cutOnce(read, this.windows);
    const cut = read.streaming(this.windows);
    read.dispose();
    return cut;
  }

  /** Cuts streaming heads of each row to windows of its own, which slide from here on. */
  #startSliding(cache: KvCache, windows: MaskMeaning["windows"]): KvCache {
    cache.lengths.forEach((tokens, row) => {
      const { slides } = this.#options.choice!.heads!;
      const heads = new SlidingHeads(windows, slides!, { tokens, context: this.#model.config.n_ctx });
      heads.slide(cache, row, tokens);
      this.#sliding.set(this.#numbers[row]!, heads);
    });
    return cache;
  }

  /** Holds prompts that were read in another form, where a policy says so. @param cache whose rows are those of the sequences */
  condense(sequences: readonly Sequence[], cache: KvCache): void {
    const { form } = this.#options.choice ?? {};
    if (!form?.policy.condense) return;
    sequences.forEach((sequence, row) => {
      const condensation = new Condensation(this.#model, form, this.#extentOf(sequence), { cache, row });
      this.#condensations.set(sequence.number, condensation);
    });
  }

  /** Key channels that a policy has left of a prompt, by layer and KV head. */
  channels({ number }: Sequence): number[][][] | undefined {
    return this.#prunings.get(number)?.kept;
  }

  /** A prompt that is held in another form. */
  condensed({ number }: Sequence): Condensation | undefined {
    return this.#condensations.get(number);
  }

  /** Codes that a policy puts pages of the cache into. */
  get #form(): CacheForm | undefined {
    const { form } = this.#options.choice ?? {};
    return form?.policy.form?.(form.params);
  }

  /**
   * Reads what a cache of one row does not hold yet of a prompt: part after part, where others may have their turn between.
   * @returns logits of its first new token [d_vocab]
   */
  async finish(sequence: Sequence, cache: KvCache): Promise<Float32Array> {
    const { prompt } = sequence;
    const chosen = this.#inputsOf(sequence);
    if (chosen) return this.step([sequence], cache, [chosen.map((place) => prompt[place]!)])[0]!;
    const ends = this.#partEnds(sequence, cache.seen[0]!);
    for (const end of ends.slice(0, -1)) {
      const tokens = [prompt.slice(cache.seen[0]!, end)];
      const result = forward(this.#model, { tokens, cache, logitsAt: "none" }, this.#looking([sequence], false));
      this.#evictions.get(sequence.number)?.read(result, cache);
      result.dispose();
      await this.turn();
    }
    return this.step([sequence], cache, [prompt.slice(cache.seen[0]!)])[0]!;
  }

  /** The tokens of a prompt that go through the whole model; undefined where all do. */
  #inputsOf({ number, prompt }: Sequence): readonly number[] | undefined {
    const { inputs } = this.#options.choice ?? {};
    const chosen = inputs && chosenInputs(this.#model, inputs, prompt, this.#requests);
    if (chosen) this.#inputs.set(number, chosen);
    return chosen;
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

  #logits(
    sequences: readonly Sequence[],
    cache: KvCache | undefined,
    tokens: readonly (readonly number[])[] | undefined,
    logitsAt: "last" | "all" = "last",
  ): Float32Array[][] {
    const whole = ({ prompt, all }: Sequence): number[] => [...prompt, ...all];
    const input = cache
      ? { tokens: tokens!, cache }
      : { tokens: sequences.map(whole), ...(this.windows ? { windows: this.windows } : {}) };
    if (sequences[0]!.all.length > 0) for (const { number } of sequences) this.#selections.get(number)?.advance();
    if (cache && sequences[0]!.all.length > 0)
      sequences.forEach(({ number }, row) => {
        this.#sliding.get(number)?.slide(cache, row, cache.lengths[row]! + 1);
      });
    const prompt = cache && this.#promptReader(sequences, tokens!);
    const options = this.#looking(sequences, true);
    const reader = prompt && { reader: joinReaders(prompt, options.reader) };
    let result: ForwardResult;
    try {
      result = forward(this.#model, { ...input, logitsAt }, { ...options, ...reader });
    } finally {
      prompt?.dispose();
    }
    if (prompt) this.#shares.set(sequences[0]!.number, prompt.share);
    const [, positions, width] = result.logits!.shape as [number, number, number];
    const numbers = result.logits!.dataSync() as Float32Array;
    const step = sequences[0]!.all.length;
    this.#onStep?.(result, step, sequences.map(({ number }) => number)); // biome-ignore format: one call
    const chosen = this.#inputs.get(sequences[0]!.number);
    if (cache && chosen && step === 0) cache.standFor(0, chosen, sequences[0]!.prompt.length);
    if (cache) this.#evict(sequences, result, cache);
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
    const known = this.known(sequence);
    return new Prefix(this.#model, { tokens, cache: cache.fork(row), logits, changes: this.changes, known });
  }

  /** What a policy that goes on choosing knows of a sequence. @returns of the caller's */
  known({ number }: Sequence): Eviction | undefined {
    const eviction = this.#evictions.get(number);
    return eviction?.decodes ? eviction.fork(this.#options.choice!.tokens!) : undefined;
  }

  /** Frees the interventions, and what policies know. */
  dispose(): void {
    disposeInterventions(this.#compiled);
    const atWork = [this.#evictions, this.#selections, this.#condensations, this.#sliding].flatMap((of) => [
      ...of.values(),
    ]);
    for (const each of atWork) each.dispose();
  }

  /** Reads a prompt under a policy for blocks; one of a single square is dense. */
  #promptReader([sequence]: readonly Sequence[], [tokens]: readonly (readonly number[])[]): PromptReader | undefined {
    const { choice, onPromptRead } = this.#options;
    if (!choice?.blocks || sequence!.all.length > 0 || tokens!.length <= SQUARE) return undefined;
    return new PromptReader(this.#model.config, choice.blocks, onPromptRead);
  }

  #extentOf({ prompt, maxTokens }: Sequence): EvictionExtent {
    return { tokens: prompt.length, steps: maxTokens, windows: this.windows, goesOn: this.#options.keep };
  }

  #startPolicies(sequence: Sequence): void {
    const { choice, prefix } = this.#options;
    const { tokens, reads } = choice ?? {};
    const { number, prompt } = sequence;
    const extent = this.#extentOf(sequence);
    if (tokens) {
      checkPrompt(tokens, prompt.length);
      if (prefix) checkBehind(tokens, prefix, prompt.length);
      const known = prefix?.known?.knows(tokens) ? prefix.known.fork(tokens, extent) : undefined;
      this.#evictions.set(number, known ?? new Eviction(this.#model, tokens, extent));
    }
    const selection = reads && new Selection(this.#model, reads, extent);
    if (selection?.selects) this.#selections.set(number, selection);
    if (!choice?.form?.policy.channels) return;
    const fresh = prompt.length - (prefix?.tokens.length ?? 0);
    this.#prunings.set(number, new ChannelPruning(this.#model, choice.form, extent, fresh));
  }

  /** Ends of the parts in which the rest of a prompt is read. @param read tokens that the cache holds */
  #partEnds({ number, prompt }: Sequence, read: number): number[] {
    const eviction = this.#evictions.get(number);
    const pruning = this.#prunings.get(number);
    if (this.seenWhole || this.#readsAtOnce || !(this.#options.turn || eviction?.looks || pruning))
      return [prompt.length];
    const last = Math.max(eviction?.last ?? 0, pruning?.last ?? 0);
    const ends = [];
    for (let end = read + PART; end < prompt.length - last; end += PART) ends.push(end);
    if (last > 0 && prompt.length - last > read) ends.push(prompt.length - last);
    return [...ends, prompt.length];
  }

  /** The requests of a forward, with those of policies. @param ends the prompts, or behind them */
  #looking(sequences: readonly Sequence[], ends: boolean): ForwardOptions {
    const reader = this.#reader(sequences);
    const requests = reader ? { ...this.#requests, reader } : this.#requests;
    const decoding = sequences[0]!.all.length > 0;
    const looking = sequences.flatMap(({ number }) => this.#evictions.get(number) ?? []);
    const pruning = decoding || !ends ? [] : sequences.flatMap(({ number }) => this.#prunings.get(number) ?? []);
    const own = new Set([
      ...looking.flatMap((each) => (decoding && !each.decodes ? [] : each.names(ends))),
      ...pruning.flatMap(({ names }) => names),
    ]);
    if (own.size === 0) return requests;
    const { names = [] } = this.#requests;
    const wants = typeof names === "function" ? names : (name: string) => names.includes(name);
    return { ...requests, names: (name) => own.has(name) || wants(name) };
  }

  /** Chooses what the tokens of some sequences read; undefined where nobody does. */
  #reader(sequences: readonly Sequence[]): AttentionReader | undefined {
    const decoding = sequences[0]!.all.length > 0;
    const selections = sequences.map(({ number }) => this.#selections.get(number));
    if (decoding && this.#condensations.size > 0)
      return readerOf(sequences.map((sequence) => this.condensed(sequence)));
    if (!selections.some((each) => each && (decoding || each.looks))) return undefined;
    return readerOf(selections);
  }

  #evict(sequences: readonly Sequence[], result: ForwardResult, cache: KvCache): void {
    sequences.forEach(({ number, all }, row) => {
      const eviction = this.#evictions.get(number);
      if (all.length === 0) {
        eviction?.read(result, cache);
        this.#prunings.get(number)?.read(result, cache);
      } else eviction?.go(result, cache, row);
    });
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

  /** Insists that keys can be turned to other positions. */
  #checkRerotation({ when }: Budget): void {
    checkRotates(this.#model);
    const refuse = (what: string, remedy: string) =>
      new HeadscopeError("usage", `rerotate ${what}`, { remedy, field: "rerotate" });
    if (this.windows)
      throw refuse("needs KV heads that hold as many tokens, and some stream", "leave one of the two out");
    const kind = this.#options.cache ?? this.#options.prefix?.cache.kind ?? "f32";
    if (when === "decode" && (kind !== "f32" || this.#options.choice?.form))
      throw refuse(
        "turns keys again at every step, and in fewer bits each turn rounds them",
        "cache in f32 and in no other form, or turn once",
      );
  }

  /** Insists that a prefix is held as its continuations are to be. */
  #checkPrefix(cache: KvCache): void {
    const { mask, cache: kind } = this.#options;
    const refuse = (what: string, remedy: string) => new HeadscopeError("mismatch", `the prefix ${what}`, { remedy });
    if (kind !== undefined && kind !== cache.kind)
      throw refuse(`is held in ${cache.kind}, not in ${kind}`, `read it again, or go on in ${cache.kind}`);
    if (mask === undefined) return;
    const text = (windows: MaskMeaning["windows"] | KvCache["windows"]) =>
      JSON.stringify(windows.map((row) => row.map((window) => window ?? null)));
    const wanted =
      this.cutsLater || !this.windows ? cache.windows.map((row) => row.map(() => undefined)) : this.windows;
    if (text(cache.windows) !== text(wanted))
      throw refuse(
        "was read with other windows than the mask's",
        'read it with this mask, or with all heads full for prefill "dense"',
      );
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

/** Positions that a sequence takes. @throws HeadscopeError (input) where the model has not as many */
function checkContext({ config }: Model, { prompt, maxTokens }: Sequence, { prefix, choice }: CheckedRun): number {
  const { seen: [seen = 0] = [], lengths: [length = 0] = [] } = prefix?.cache ?? {};
  const read = prompt.length - (seen - length);
  const { rerotate, when } = choice?.tokens?.params ?? {};
  const held = rerotate ? Math.min(read, kept(choice!.tokens!.params, prompt.length)) : read;
  const positions = Math.max(read, held + (rerotate && when === "decode" ? 1 : maxTokens));
  if (positions <= config.n_ctx) return positions;
  throw new HeadscopeError(
    "input",
    `${prompt.length} prompt tokens and ${maxTokens} new ones exceed the context of ${config.n_ctx}`,
    { remedy: "shorten the prompt or ask for fewer tokens" },
  );
}

/** @throws HeadscopeError (usage) for what needs a cache, where there is none */
function refuseCached({ prefill, prefix, cache, choice }: CheckedRun, masked: boolean): void {
  const refuse = (what: string, remedy: string) =>
    new HeadscopeError("usage", `${what} where nothing is cached`, { remedy });
  if (masked && prefill === "dense")
    throw refuse("a prompt can't be read without the mask", 'leave prefill "dense" out, or useCache: false');
  if (choice?.tokens)
    throw refuse(`${choice.tokens.policy.name} has nothing to free`, "leave the policy out, or useCache: false");
  if (choice?.inputs)
    throw refuse(`${choice.inputs.policy.name} reads a prompt twice`, "leave the policy out, or useCache: false");
  if (choice?.blocks)
    throw refuse(`${choice.blocks.policy.name} has no prompt to read`, "leave the policy out, or useCache: false");
  if (choice?.reads)
    throw refuse(`${choice.reads.policy.name} has nothing to choose`, "leave the policy out, or useCache: false");
  if (choice?.form)
    throw refuse(`${choice.form.policy.name} has nothing to hold`, "leave the policy out, or useCache: false");
  if (prefix) throw refuse("a prefix is of no use", "leave `prefix` out, or useCache: false");
  if (cache) throw refuse("a form of the cache is of no use", "leave `cache` out, or useCache: false");
}

/** @throws HeadscopeError (usage) where a prompt's tokens can't stand at other positions than they have, or its layers are too few */
function checkInputs({ config }: Model, { choice, prefix, interventions = [], forward }: CheckedRun): void {
  const { policy, params } = choice!.inputs!;
  policy.layers(params, config.n_layers);
  const refuse = (what: string, remedy: string, field: string) =>
    new HeadscopeError("usage", `${policy.name} reads some of a prompt's tokens, at positions of their own, ${what}`, {
      remedy,
      field: ["policies", field],
    });
  if (prefix) throw refuse("and those of a prefix have been read", "give whole prompts", "prefix");
  if (interventions.length > 0 || forward?.interventions?.size)
    throw refuse("which interventions don't know", "leave one of the two out", "interventions");
}

/** @throws HeadscopeError (usage) where what was run is no one cache with the logits that follow */
function checkKeep({ useCache = true, speculative, choice }: CheckedRun): void {
  const refuse = (what: string) =>
    new HeadscopeError("usage", `there is nothing to keep ${what}`, { remedy: "leave keep out", field: "keep" });
  if (!useCache) throw refuse("where nothing is cached");
  if (choice?.form?.policy.condense) throw refuse("that another run could read: the form is this run's own");
  if (speculative) throw refuse("of speculative decoding, whose last tokens are drafts");
}

/** @throws HeadscopeError (unsupported) where no product would take 8-bit vectors */
function checkCoded({ ref, weights }: Model): void {
  const { ready, why } = loadKernels();
  const refuse = (what: string, remedy: string) => new HeadscopeError("unsupported", what, { remedy });
  if (!ready)
    throw refuse(`8-bit activations need the kernels: ${why}`, "leave them out; `headscope doctor` says more");
  const coded = [...partTensors(weights).values()].some(
    (part) => part instanceof Matrix && part.packed && formatOf(part.packed.format).block !== undefined,
  );
  if (!coded)
    throw refuse(
      `8-bit activations are for weights in codes, and ${ref} has its own in plain numbers`,
      "load a quantised GGUF file with weights q8, or leave them out",
    );
}
