import type { MaskMeaning } from "../../common/heads/meaning.ts";
import { SQUARE } from "../../kernels/attend.ts";
import type { CacheForm } from "../../models/cache/forms/form.ts";
import type { KvCache } from "../../models/cache/kv-cache.ts";
import type { AttentionReader } from "../../models/cache/reader.ts";
import type { ForwardOptions, ForwardResult } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import type { Turn } from "../../runtime/turn.ts";
import { checkPrompt, type PolicyChoice, pruningOf } from "../policies/choice.ts";
import { SlidingHeads } from "../policies/heads/sliding-heads.ts";
import { chosenInputs } from "../policies/inputs/chosen-inputs.ts";
import { prunes } from "../policies/kinds/inputs.ts";
import { joinReaders, PromptReader } from "../policies/prompt/reader.ts";
import { ChannelPruning } from "../policies/work/channel-pruning.ts";
import { Condensation } from "../policies/work/condensation.ts";
import { LayerPruning } from "../policies/work/layers/layer-pruning.ts";
import { SparseLayers } from "../policies/work/layers/sparse-layers.ts";
import { readerOf, Selection } from "../policies/work/selection.ts";
import { checkBehind } from "../policies/work/tokens/behind-prefix.ts";
import { Eviction, type EvictionExtent } from "../policies/work/tokens/eviction.ts";
import { PromptFlags } from "../policies/work/tokens/prompt-flags.ts";
import { checkParts } from "./checks.ts";
import type { CheckedRun, Sequence } from "./options.ts";

/** By layer and KV head, windows of heads that stream. */
type Windows = MaskMeaning["windows"];

/** Policies at work on one prompt, and what became of it. */
interface PromptWork {
  readonly eviction: Eviction | undefined;
  readonly selection: Selection | undefined;
  readonly pruning: ChannelPruning | undefined;
  readonly layerPruning: LayerPruning | undefined;
  /** Once it is read. */
  condensation?: Condensation;
  sliding?: SlidingHeads;
  readonly sparse: SparseLayers | undefined;
  /** Share of its attention that was read under a policy for blocks. */
  share?: number;
  /** Places of the tokens that the whole model reads, where a policy has left some out. */
  inputs?: readonly number[];
}

/** Policies at work on prompts that are continued together: what they ask of forwards, and what they make of the results. */
export class PolicyRun {
  readonly #model: Model;
  readonly #options: CheckedRun;
  readonly #choice: PolicyChoice | undefined;
  readonly #windows: Windows | undefined;
  /** By number of the prompt, in the order of the rows in which they are read. */
  readonly #work: ReadonlyMap<number, PromptWork>;

  /** @param windows undefined where all heads are full @throws HeadscopeError for prompts that are too short for a policy */
  constructor(model: Model, sequences: readonly Sequence[], options: CheckedRun, windows: Windows | undefined) {
    this.#model = model;
    this.#options = options;
    this.#choice = options.choice;
    this.#windows = windows;
    this.#work = new Map(sequences.map((sequence) => [sequence.number, this.#start(sequence)]));
  }

  /** True where a policy sees all queries of a prompt before the first of them attends. */
  get readsAtOnce(): boolean {
    return this.#choice?.blocks !== undefined || [...this.#work.values()].some(({ eviction }) => eviction?.foresees);
  }

  /** True where each prompt is read by itself, whatever others begin with. */
  get readsApart(): boolean {
    const { tokens, blocks, inputs } = this.#choice ?? {};
    const looking = [...this.#work.values()].some(({ selection, pruning }) => selection?.looks || pruning);
    return [tokens, blocks, inputs].some((chosen) => chosen !== undefined) || looking;
  }

  /** True where a policy acts at each new token, which then goes through the model by itself. */
  get actsAtEach(): boolean {
    const { heads, tokens, reads, form } = this.#choice ?? {};
    const each = heads?.slides || reads || pruningOf(this.#choice) || form?.policy.condense;
    return Boolean(each) || tokens?.params.when === "decode";
  }

  /** Codes that a policy puts pages of the cache into. */
  get form(): CacheForm | undefined {
    const { form } = this.#choice ?? {};
    return form?.policy.form?.(form.params, form.prepared);
  }

  /**
   * Says whether policies look at the parts of a prompt, how many last tokens are a part of their own, and how many tokens a part has
   * at most where something goes behind each.
   * @param number of the prompt
   */
  looksAt(number: number): { looks: boolean; last: number; part: number | undefined } {
    const { eviction, pruning } = this.#of(number);
    return {
      part: eviction?.part,
      looks: eviction?.looks === true || pruning !== undefined,
      last: Math.max(eviction?.last ?? 0, pruning?.last ?? 0),
    };
  }

  /** Facts of the way a prompt was read. @param number of the prompt */
  prefill(number: number): { prefill?: { read: number } } {
    return this.#choice?.blocks ? { prefill: { read: this.#of(number).share ?? 1 } } : {};
  }

  /** Mean share that a sequence's new tokens have read of the keys held, where a policy chooses; 1 where it leaves nothing unread. */
  shareRead({ number }: Sequence): number | undefined {
    const { selection, layerPruning } = this.#of(number);
    if (selection || layerPruning) return selection?.share ?? layerPruning?.share;
    return this.#choice?.reads ? 1 : undefined;
  }

  /** A prompt that is held in another form. */
  condensed({ number }: Sequence): Condensation | undefined {
    return this.#of(number).condensation;
  }

  /** The knowledge that a policy which goes on choosing has of a sequence. @returns of the caller's */
  known({ number }: Sequence): Eviction | undefined {
    const { eviction } = this.#of(number);
    return eviction?.decodes ? eviction.fork(this.#choice!.tokens!) : undefined;
  }

  /** A fork of what a policy for reads has learnt of a sequence's prompt. @returns of the caller's */
  learnt({ number }: Sequence): Selection | undefined {
    const { selection } = this.#of(number);
    return selection?.looks ? selection.fork(this.#choice!.reads!) : undefined;
  }

  /** Chooses the tokens of a prompt that go through the whole model. @returns their places, undefined where all do */
  choosesInputs({ number, prompt }: Sequence, requests: ForwardOptions): readonly number[] | undefined {
    const { inputs } = this.#choice ?? {};
    if (!inputs || prunes(inputs.policy)) return undefined;
    const { policy, params } = inputs;
    const chosen = chosenInputs(this.#model, { policy, params }, prompt, requests);
    if (chosen) this.#of(number).inputs = chosen;
    return chosen;
  }

  /** The policy that leaves out tokens of a sequence layer by layer, where it leaves out any. */
  layerPruning({ number }: Sequence): LayerPruning | undefined {
    return this.#of(number).layerPruning;
  }

  /** Cuts streaming heads of each row to windows of its own, which slide from here on, where a policy says so. @param cache whose rows are the prompts' */
  slides(cache: KvCache, windows: Windows): boolean {
    const slides = this.#choice?.heads?.slides;
    if (!slides) return false;
    const works = [...this.#work.values()];
    cache.lengths.forEach((tokens, row) => {
      const heads = new SlidingHeads(windows, slides, { tokens, context: this.#model.config.n_ctx });
      heads.slide(cache, row, tokens);
      works[row]!.sliding = heads;
    });
    return true;
  }

  /** Holds prompts that were read in another form, where a policy says so. @param cache whose rows are those of the sequences @throws what `turn` throws */
  async condense(sequences: readonly Sequence[], cache: KvCache, turn: Turn): Promise<void> {
    const { form } = this.#choice ?? {};
    if (!form?.policy.condense) return;
    for (const [row, sequence] of sequences.entries()) {
      const held = { cache, row };
      const condensation = new Condensation(this.#model, form, this.#extentOf(sequence), held);
      this.#of(sequence.number).condensation = condensation;
      await condensation.take(held, turn);
    }
  }

  /** The requests of a forward, with those of policies. @param ends the prompts, or behind them */
  requests(sequences: readonly Sequence[], own: ForwardOptions, ends: boolean): ForwardOptions {
    const reader = this.#reader(sequences);
    const requests = reader ? { ...own, reader } : own;
    const decoding = sequences[0]!.all.length > 0;
    const tokens = decoding ? "new" : ends ? "end" : "part";
    const names = new Set(
      sequences.flatMap(({ number }) => {
        const { eviction, pruning } = this.#of(number);
        const chooses = eviction && (!decoding || eviction.decodes) ? eviction.names(tokens) : [];
        return [...chooses, ...(pruning && ends && !decoding ? pruning.names : [])];
      }),
    );
    if (names.size === 0) return requests;
    const { names: asked = [] } = own;
    const wants = typeof asked === "function" ? asked : (name: string) => asked.includes(name);
    return { ...requests, names: (name) => names.has(name) || wants(name) };
  }

  /**
   * Runs a forward over a cache under policies that act on attention within a prompt, where it reads one; under a policy for blocks one of
   * a single square is dense.
   * @param tokens by sequence those that are run
   */
  readPrompt(
    [sequence]: readonly Sequence[],
    [tokens]: readonly (readonly number[])[],
    options: ForwardOptions,
    run: (options: ForwardOptions) => ForwardResult,
  ): ForwardResult {
    const { blocks } = this.#choice ?? {};
    if (sequence!.all.length > 0) return run(options);
    const { eviction } = this.#of(sequence!.number);
    if (eviction?.foresees) return run({ ...options, reader: new PromptFlags(eviction) });
    if (!blocks || tokens!.length <= SQUARE) return run(options);
    const reader = new PromptReader(this.#model.config, blocks, this.#options.onPromptRead);
    try {
      return run({ ...options, reader: joinReaders(reader, options.reader) });
    } finally {
      this.#of(sequence!.number).share = reader.share;
      reader.dispose();
    }
  }

  /** Counts a new token of each sequence that is about to go through the model. */
  advance(sequences: readonly Sequence[], cache: KvCache | undefined): void {
    sequences.forEach(({ number }, row) => {
      const { selection, sliding, sparse } = this.#of(number);
      selection?.advance();
      if (cache) for (const each of [sliding, sparse]) each?.slide(cache, row, cache.lengths[row]! + 1);
    });
  }

  /** Sees a part of a prompt that does not end it. */
  readPart({ number }: Sequence, result: ForwardResult, cache: KvCache): void {
    this.#of(number).eviction?.read(result, cache);
  }

  /** Sees the ends of prompts, or new tokens behind them, and frees what does not stay. */
  see(sequences: readonly Sequence[], result: ForwardResult, cache: KvCache): void {
    sequences.forEach(({ number, all, prompt }, row) => {
      const { eviction, pruning, sparse, inputs } = this.#of(number);
      if (all.length > 0) {
        eviction?.go(result, cache, row);
        return;
      }
      if (inputs) cache.standFor(0, inputs, prompt.length);
      eviction?.read(result, cache);
      pruning?.read(result, cache);
      sparse?.slide(cache, row, prompt.length);
    });
  }

  /** Frees what policies know. */
  dispose(): void {
    for (const { eviction, selection, condensation, sliding, layerPruning } of this.#work.values())
      for (const each of [eviction, selection, condensation, sliding, layerPruning]) each?.dispose();
  }

  #of(number: number): PromptWork {
    return this.#work.get(number)!;
  }

  #extentOf({ prompt, maxTokens }: Sequence): EvictionExtent {
    return { tokens: prompt.length, steps: maxTokens, windows: this.#windows, goesOn: this.#options.keep };
  }

  #start(sequence: Sequence): PromptWork {
    const { blocks, reads, form } = this.#choice ?? {};
    const holds = blocks?.policy.holds?.(blocks.params);
    const extent = this.#extentOf(sequence);
    const { learnt } = this.#options.prefix ?? {};
    const goesOn = reads && learnt?.knows(reads) === true;
    const selection = goesOn ? learnt!.fork(reads, extent) : reads && new Selection(this.#model, reads, extent);
    const inputs = pruningOf(this.#choice);
    const layerPruning = inputs && new LayerPruning(this.#model, inputs, extent);
    const fresh = sequence.prompt.length - (this.#options.prefix?.tokens.length ?? 0);
    return {
      eviction: this.#eviction(sequence, extent),
      selection: selection?.selects ? selection : undefined,
      sparse: holds && new SparseLayers(this.#model.config, holds, this.#windows),
      layerPruning: layerPruning?.prunes ? layerPruning : undefined,
      pruning: form?.policy.channels ? new ChannelPruning(this.#model, form, extent, fresh) : undefined,
    };
  }

  #eviction({ prompt }: Sequence, extent: EvictionExtent): Eviction | undefined {
    const { tokens } = this.#choice ?? {};
    const { prefix } = this.#options;
    if (!tokens) return undefined;
    checkPrompt(tokens, prompt.length);
    if (prefix) checkBehind(tokens, prefix, prompt.length);
    const known = prefix?.known?.knows(tokens) ? prefix.known.fork(tokens, extent) : undefined;
    const eviction = known ?? new Eviction(this.#model, tokens, extent);
    if (eviction.part !== undefined) checkParts(tokens, prompt.length, this.#options);
    return eviction;
  }

  /** Chooses what the tokens of some sequences read; undefined where nobody does. */
  #reader(sequences: readonly Sequence[]): AttentionReader | undefined {
    const decoding = sequences[0]!.all.length > 0;
    const condensations = sequences.map((sequence) => this.condensed(sequence));
    if (decoding && condensations.some(Boolean)) return readerOf(condensations);
    const selections = sequences.map(({ number }) => this.#of(number).selection);
    if (!selections.some((each) => each && (decoding || each.looks))) return undefined;
    return readerOf(selections);
  }
}
