import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../../common/errors.ts";
import type { AttentionReader, AttentionStep } from "../../../models/cache/reader.ts";
import { concatenated } from "../../../models/cache/storage/storage.ts";
import { localWindow, type ModelConfig } from "../../../models/config.ts";
import type { Model } from "../../../models/model.ts";
import { tf } from "../../../runtime/tf.ts";
import { kept } from "../kinds/parameters.ts";
import type { Chosen } from "../kinds/policy.ts";
import type { Knowledge, ReadPolicy, ReadView, Stretch } from "../kinds/reads.ts";
import { countOf, cutSpans, inOrder } from "./stretches.ts";
import type { EvictionExtent } from "./tokens/eviction.ts";

/** One row of a layer's new tokens, and the KV heads that are chosen for. */
interface LayerRow {
  readonly step: AttentionStep;
  readonly row: number;
  readonly heads: readonly number[];
}

/** A policy at work on what the tokens of one sequence read. */
export class Selection {
  readonly #model: Model;
  readonly #config: ModelConfig;
  readonly #policy: ReadPolicy;
  readonly #params: Record<string, unknown>;
  readonly #extent: EvictionExtent;
  /** The policy's knowledge of each layer. */
  readonly #known: (Knowledge | undefined)[] = [];
  /** Keys that each KV head held, by layer. */
  readonly #held: number[] = [];
  #step = 0;
  /** Shares read of the new tokens so far, and the KV heads that they are of. */
  #share = { sum: 0, of: 0 };

  constructor(model: Model, { policy, params }: Chosen<ReadPolicy>, extent: EvictionExtent) {
    this.#model = model;
    this.#config = model.config;
    this.#policy = policy;
    this.#params = params;
    this.#extent = extent;
  }

  /** The same policy at work on the same tokens, which knows what this one has learnt by now. */
  fork(choice: Chosen<ReadPolicy>, extent: EvictionExtent = this.#extent): Selection {
    const forked = new Selection(this.#model, choice, extent);
    this.#known.forEach((known, layer) => {
      forked.#known[layer] = known && mapTensors(known, (tensor) => tf.keep(tensor.clone()));
      forked.#held[layer] = this.#held[layer]!;
    });
    return forked;
  }

  /** Tells whether it has learnt what a choice would learn. */
  knows({ policy, params }: Chosen<ReadPolicy>): boolean {
    return policy.name === this.#policy.name && JSON.stringify(params) === JSON.stringify(this.#params);
  }

  /** True where anything is left unread at all. */
  get selects(): boolean {
    const { tokens, steps } = this.#extent;
    return kept(this.#params, tokens) < tokens + steps;
  }

  /** True where it looks at the prompt as it is read. */
  get looks(): boolean {
    return this.selects && this.#policy.inPrompt !== undefined;
  }

  /** Mean share that new tokens have read of the keys held, over the layers' KV heads; undefined of none. */
  get share(): number | undefined {
    const { n_layers, n_key_value_heads } = this.#config;
    if (this.#step === 0) return undefined;
    const all = this.#step * n_layers * n_key_value_heads;
    return (this.#share.sum + all - this.#share.of) / all;
  }

  /** Counts a new token that is about to go through the model. */
  advance(): void {
    this.#step++;
  }

  /** True for layers in which something may be left unread. */
  reaches(layer: number): boolean {
    const { dense = 0 } = this.#params as { dense?: number };
    return layer >= dense && localWindow(this.#config, layer) === undefined && this.#heads(layer).length > 0;
  }

  /** Spans that a row's new tokens read, by KV head; undefined where all are. */
  choose(step: AttentionStep, row: number): Int32Array[] | undefined {
    const { layer, tokens, cache } = step;
    const heads = this.#heads(layer);
    const count = tokens.ends[row]! - tokens.starts[row]!;
    const { inPrompt } = this.#policy;
    if (count <= 0 || (this.#step === 0 && inPrompt === undefined)) return undefined;
    const all = cache.windows[layer]!.map((_, head) => inOrder(step.spansOf(row, head)));
    const view = this.#view({ step, row, heads }, all);
    const known = this.#learn(view);
    if (this.#step === 0 && inPrompt !== "chooses") return undefined;
    const chosen = this.#policy.choose(view, known, this.#params, this.#layers.map((each) => this.#known[each])); // biome-ignore format: one call
    if (this.#step > 0) this.#count(view, chosen);
    if (!chosen) return undefined;
    heads.forEach((head, i) => {
      all[head] = cutSpans(all[head]!, chosen[i]!);
    });
    return all;
  }

  /** Frees what the policy knows. */
  dispose(): void {
    for (const known of this.#known.splice(0)) tf.dispose(known ? tensorsIn(known) : []);
  }

  /** Layers in which something may be left unread. */
  get #layers(): number[] {
    return [...Array(this.#config.n_layers).keys()].filter((layer) => this.reaches(layer));
  }

  /** KV heads of a layer that are no streaming heads. */
  #heads(layer: number): number[] {
    const windows = this.#extent.windows?.[layer];
    return [...Array(this.#config.n_key_value_heads).keys()].filter((head) => windows?.[head] === undefined);
  }

  #learn(view: ReadView): Knowledge {
    const before = this.#known[view.layer];
    const known = this.#policy.learn(view, before, this.#params);
    this.#held[view.layer] = view.held;
    if (known === before) return known;
    const held = new Set(tensorsIn(known));
    for (const tensor of held) tf.keep(tensor);
    for (const tensor of before ? tensorsIn(before) : []) if (!held.has(tensor)) tensor.dispose();
    this.#known[view.layer] = known;
    return known;
  }

  #count({ held, kvHeads }: ReadView, chosen: readonly (readonly Stretch[])[] | undefined): void {
    const shares = chosen?.map((stretches) => countOf(stretches) / held) ?? new Array<number>(kvHeads).fill(1);
    this.#share.sum += shares.reduce((a, b) => a + b, 0);
    this.#share.of += kvHeads;
  }

  #view({ step, row, heads }: LayerRow, spans: readonly Int32Array[]): ReadView {
    const { layer, q, tokens: places, cache } = step;
    const [start, end] = [places.starts[row]!, places.ends[row]!];
    const counts = new Set(heads.map((head) => heldIn(spans[head]!)));
    if (counts.size > 1)
      throw new HeadscopeError("usage", `the KV heads of layer ${layer} hold different numbers of tokens`, {
        remedy: `${this.#policy.name} chooses among the same number in each: leave out what gives heads budgets of their own`,
        field: "policies",
      });
    const [held] = counts as Iterable<number> as [number];
    const own = { tokens: end - start, first: row * places.tokens };
    return {
      config: this.#config,
      layer,
      length: end,
      tokens: end - start,
      step: this.#step,
      kvHeads: heads.length,
      held: held ?? 0,
      moved: (held ?? 0) < (this.#held[layer] ?? 0) + end - start,
      budget: Math.max(kept(this.#params, held ?? 0), this.#policy.least?.(this.#params) ?? 1),
      queries: queriesOf(q, own, { heads, group: this.#config.n_heads / this.#config.n_key_value_heads }),
      keysOf: (first, count) => {
        const parts = heads.map((head) => cutSpans(spans[head]!, [[first, first + count]]));
        const { keys, values } = cache.storage.read(concatenated(parts));
        values.dispose();
        return tf.reshape(keys, [heads.length, count, this.#config.d_head]);
      },
    };
  }
}

/** Chooses for a forward over several rows. @param selections by row, undefined where all is read */
export function readerOf(selections: readonly (Pick<Selection, "reaches" | "choose"> | undefined)[]): AttentionReader {
  return {
    reaches: (layer) => selections.some((selection) => selection?.reaches(layer) === true),
    choose(step) {
      const chosen = selections.map((selection, row) => selection?.choose(step, row));
      if (chosen.every((spans) => spans === undefined)) return undefined;
      const heads = step.cache.windows[step.layer]!;
      return { spans: chosen.map((spans, row) => spans ?? heads.map((_, head) => step.spansOf(row, head))) };
    },
  };
}

/** Queries of one row's tokens, of the query heads of some KV heads [heads, tokens, d_head]. @param q [rows * tokens, heads, d_head] */
export function queriesOf(
  q: Tensor,
  { first, tokens }: { first: number; tokens: number },
  { heads, group }: { heads: readonly number[]; group: number },
): Tensor {
  const [, all, width] = q.shape as [number, number, number];
  const row = tf.slice(q, [first, 0, 0], [tokens, all, width]);
  const own = heads.flatMap((head) => Array.from({ length: group }, (_, i) => head * group + i));
  const byHead = own.length === all ? row : tf.gather(row, own, 1);
  return tokens === 1 ? tf.reshape(byHead, [own.length, 1, width]) : tf.transpose(byHead, [1, 0, 2]);
}

function heldIn(spans: Int32Array): number {
  let held = 0;
  for (let i = 3; i < spans.length; i += 4) held += spans[i]!;
  return held;
}

function mapTensors(known: Knowledge, change: (tensor: Tensor) => Tensor): Knowledge {
  const changed = ([name, value]: [string, unknown]) => [name, value instanceof tf.Tensor ? change(value) : value];
  return Object.fromEntries(Object.entries(known).map(changed));
}

function tensorsIn(known: Knowledge): Tensor[] {
  return Object.values(known).filter((value) => value instanceof tf.Tensor);
}
