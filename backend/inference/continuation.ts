import { NEW_TOKENS, type Stopped } from "../common/api/generation.ts";
import { Random } from "../common/random.ts";
import type { Model } from "../models/model.ts";
import { ALPHA, type ContextAwareOptions, contrasted } from "./decoding/context-aware.ts";
import {
  checkSampling,
  choose,
  judge,
  type Proposal,
  probabilityOf,
  propose,
  type Sampling,
} from "./decoding/sampling.ts";
import type { Sequence } from "./run/options.ts";
import { ownStops, type Stop, stopRule } from "./stop-rule.ts";
import { TextStream } from "./text-stream.ts";

/** Choice of a prompt's new tokens, and their end. */
export interface ChoiceOptions extends Sampling {
  /** Most new tokens, default 32. */
  maxTokens?: number | undefined;
  /** Of the sampling, default 0. */
  seed?: number | undefined;
  /** The prompt without its context, whose logits are taken from those of the prompt. */
  contextAware?: ContextAwareOptions | undefined;
  /**
   * Ends of the generation: token ids and texts, none of which is part of the result. Default the model's own stops
   * (`model.stops`), which `ownStops` joins with others; [] for none.
   */
  stop?: readonly Stop[] | undefined;
}

/** Hears of a new token: the text that is certain with it, and how likely the model held it. */
export type TokenListener = (id: number, text: string, probability: () => number) => void;

/** Facts of a prompt that is continued. */
export interface ContinuationPrompt extends Pick<Sequence, "number" | "prompt"> {
  /** Tokens that stand before the new ones, and are run as these are. */
  readonly lead?: readonly number[] | undefined;
  /** The prompt without its context. */
  readonly without?: Pick<Sequence, "number" | "prompt"> | undefined;
}

/** New tokens of one prompt, chosen one by one of the logits that the model gives. */
export class Continuation {
  /** Number of the prompt among those that are continued together. */
  readonly number: number;
  /** Its token ids. */
  readonly prompt: readonly number[];
  /** Stands before the new tokens, and is run as they are. */
  readonly lead: readonly number[];
  /** Most tokens behind the prompt, with the lead. */
  readonly maxTokens: number;
  /** Tokens behind the prompt: the lead, once it is run, and the new ones, in a stop text too. */
  readonly all: number[] = [];
  /** The sequences that the model runs for it: itself, and with the same new tokens the prompt without its context. */
  readonly sequences: readonly Sequence[];
  /** Weight of the difference between the two. */
  readonly alpha: number;
  readonly #model: Model;
  readonly #sampling: Sampling;
  readonly #random: Random;
  /** Ids of the prompt and the new tokens. */
  readonly #before: Set<number>;
  readonly #stops: ReadonlySet<number>;
  readonly #written: TextStream;
  readonly #reads: boolean;
  readonly #tell: TokenListener | undefined;
  #stopped: Stopped | undefined;
  #drafted = 0;
  #accepted = 0;

  /** @throws HeadscopeError for stops that the model cannot have, and limits of a sample without one */
  constructor(model: Model, options: ChoiceOptions & ContinuationPrompt, tell?: TokenListener) {
    const { number, prompt, lead = [], seed = 0 } = options;
    const maxTokens = lead.length + (options.maxTokens ?? NEW_TOKENS);
    checkSampling(options);
    const stop = stopRule(model, options.stop ?? ownStops(model));
    this.number = number;
    this.prompt = prompt;
    this.lead = lead;
    this.maxTokens = maxTokens;
    const { without } = options;
    this.sequences = [this, ...(without ? [{ ...without, maxTokens, all: this.all }] : [])];
    this.alpha = options.contextAware?.alpha ?? ALPHA;
    this.#model = model;
    this.#sampling = options;
    this.#random = new Random(seed);
    this.#before = new Set([...prompt, ...lead]);
    this.#stops = stop.ids;
    this.#written = new TextStream(model.tokenizer, stop.texts);
    this.#reads = tell !== undefined || stop.texts.length > 0;
    this.#tell = tell;
  }

  /** Why it ended; undefined while it goes on. */
  get stopped(): Stopped | undefined {
    return this.#stopped;
  }

  /** New tokens, without those that lie in a stop text. */
  get ids(): number[] {
    return this.#stopped?.by === "text" ? this.#written.ids : this.#new;
  }

  /** New text; undefined in a model without a tokenizer. */
  get text(): string | undefined {
    return this.#model.tokenizer && (this.#reads ? this.#written.text : this.#model.tokenizer.decode(this.#new));
  }

  /** The logits to choose by. @param logits behind each of its sequences [d_vocab] */
  combined([logits, without]: readonly Float32Array[]): Float32Array {
    return without ? contrasted(logits!, without, this.alpha) : logits!;
  }

  /** Tokens chosen, with the one that ended it. */
  get chosen(): number {
    return this.#new.length + (this.#stopped?.by === "token" ? 1 : 0);
  }

  /** New tokens, without the lead. */
  get #new(): number[] {
    return this.lead.length > 0 ? this.all.slice(this.lead.length) : this.all;
  }

  /** Tokens drafted for it, and those of them that the model has taken. */
  get draft(): { drafted: number; accepted: number } {
    return { drafted: this.#drafted, accepted: this.#accepted };
  }

  /** Drafts a token. @param logits the draft's [d_vocab] @param proposals drafted before it */
  propose(logits: Float32Array, proposals: readonly Proposal[]): Proposal {
    const before = [...this.#before, ...proposals.map(({ id }) => id)];
    return propose(logits, this.#sampling, this.#random, before);
  }

  /**
   * Chooses the next token, or several where some were drafted: up to the first that the model does not take.
   * @param logits of what follows, and of what follows each drafted token [d_vocab]
   * @returns whether it goes on behind that
   */
  next(logits: readonly Float32Array[], proposals: readonly Proposal[] = []): boolean {
    this.#drafted += proposals.length;
    for (const [i, each] of logits.entries()) {
      const proposal = proposals[i];
      const [sampling, before] = [this.#sampling, this.#before];
      const id = proposal
        ? judge(each, { proposal, sampling, before }, this.#random)
        : choose(each, sampling, this.#random, before);
      const accepted = id === proposal?.id;
      if (accepted) this.#accepted++;
      if (!this.#take(id, each)) return false;
      if (!accepted) break;
    }
    return true;
  }

  /** @returns whether it goes on behind the token */
  #take(id: number, logits: Float32Array): boolean {
    if (this.#stops.has(id)) {
      this.#stopped = { by: "token", id };
      return false;
    }
    this.all.push(id);
    this.#before.add(id);
    let grown = this.#reads ? this.#written.push(id) : "";
    if (this.#written.stop !== undefined) this.#stopped = { by: "text", text: this.#written.stop };
    else if (this.all.length >= this.maxTokens) this.#stopped = { by: "limit", tokens: this.chosen };
    if (this.#stopped) grown += this.#written.end();
    this.#tell?.(id, grown, () => probabilityOf(logits, id));
    return this.#stopped === undefined;
  }
}
