import { formatHead } from "../../../../backend/common/heads/head.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { meaningOf } from "../../../../backend/common/heads/meaning.ts";
import { kvTable, mainMetricName } from "../../../../backend/common/heads/metric.ts";
import { SELECTION_RULES } from "../../../../backend/common/words.ts";
import { type CallOptions, deleteAt, get, post } from "../../api/client.ts";
import { picked } from "../../components/head-choice/algebra.ts";
import type { SelectMode } from "../../components/head-grid/grid.ts";
import { Answer } from "../../state/answer.svelte.ts";
import { choice as choiceOf, heads, number, text } from "../../state/codecs.ts";
import { selection } from "../../state/selection.svelte.ts";
import { urlParam, view } from "../../state/url.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import type { Masking } from "../commands.ts";
import {
  askFor,
  type Choice,
  defaultScores,
  defaultTop,
  defaultWindow,
  HEAD_USES,
  MASK_SOURCES,
  type MaskAsk,
  maskFile,
  searchedMask,
} from "./choice.ts";

/** A number that the model decides until the user does: NaN stands for that. */
const byModel = Number.NaN;

export const params = {
  source: urlParam("mask-by", choiceOf(MASK_SOURCES, "score")),
  scores: urlParam("mask-scores", text()),
  metric: urlParam("mask-metric", text()),
  rule: urlParam("mask-rule", choiceOf(SELECTION_RULES, "top")),
  top: urlParam("mask-top", number(byModel, { least: 0, whole: true })),
  quantile: urlParam("mask-quantile", number(0.75, { least: 0, most: 1 })),
  threshold: urlParam("mask-threshold", number(byModel)),
  effect: urlParam("mask-effect", choiceOf(HEAD_USES, "keep")),
  kvHeads: urlParam("mask-heads", heads()),
  library: urlParam("mask", text()),
  sink: urlParam("sink", number(byModel, { least: 0, whole: true })),
  recent: urlParam("recent", number(byModel, { least: 1, whole: true })),
};

/** The mask that the page is about: chosen in step 1, used by every other step. */
class MaskState {
  readonly answer = new Answer<HeadMask>();
  /** The rule's value while its slider is moved, before it is let go of: not yet in the URL. */
  moving = $state<number>();
  /** Ids of masks saved in this session, by their choice. */
  #saved = $state.raw<ReadonlyMap<string, string>>(new Map());

  /** The score document chosen, or the one to begin with; undefined where the model has none. */
  readonly document = $derived.by(() => {
    const { documents } = workspace;
    const of = (id: string) => documents.find((each) => each.id === id);
    return of(params.scores.value) ?? of(defaultScores(documents));
  });

  readonly metric = $derived.by(() => {
    const wanted = params.metric.value;
    if (this.document === undefined) return "";
    return wanted in this.document.metrics
      ? wanted
      : (mainMetricName(this.document) ?? Object.keys(this.document.metrics)[0] ?? "");
  });

  /** Scores of the KV heads, [layers][kvHeads]; undefined without scores. */
  readonly values = $derived.by(() => {
    const metric = this.document?.metrics[this.metric];
    return metric === undefined ? undefined : kvTable(this.document!, metric);
  });

  /** Lowest and highest score of a KV head. */
  readonly range = $derived.by((): readonly [number, number] => {
    const all = this.values?.flat() ?? [0, 1];
    return [Math.min(...all), Math.max(...all)];
  });

  /** The KV heads of the model. */
  readonly total = $derived(
    workspace.info.value === undefined ? 0 : workspace.info.value.layers * workspace.info.value.kvHeads,
  );

  /** The smallest mask that answers, by this metric and window, where it has been searched for. */
  readonly searched = $derived.by(() =>
    this.document === undefined
      ? undefined
      : searchedMask(workspace.fittingMasks, { probe: this.document.probe, metric: this.metric, ...this.#window() }),
  );

  readonly choice = $derived.by(
    (): Choice => ({
      source: params.source.value,
      scores: this.document?.id ?? "",
      metric: this.metric,
      rule: params.rule.value,
      value: this.moving ?? this.#value(),
      effect: params.effect.value,
      heads: selection.value,
      kvHeads: params.kvHeads.value,
      library: params.library.value,
      ...this.#window(),
    }),
  );

  /** The request for the mask; undefined while the model is unknown. */
  readonly ask = $derived.by((): MaskAsk | undefined => {
    const info = workspace.info.value;
    if (info === undefined) return undefined;
    if (this.choice.source === "score" && workspace.scores.value === undefined) return undefined;
    return askFor(this.choice, info.ref, info);
  });

  /** Why there is no mask, and what to do. */
  readonly missing = $derived(this.ask !== undefined && "missing" in this.ask ? this.ask.missing : undefined);

  /** The mask of the present choice; undefined until it is made. */
  get mask(): HeadMask | undefined {
    return this.answer.value;
  }

  /** The mask that is drawn: also the one of the choice before, while the next is made. */
  readonly drawn: HeadMask | undefined = $derived(this.answer.latest);
  /** True if what is drawn is of another choice than the present one. */
  readonly stale: boolean = $derived(this.answer.stale);

  /** KV heads that keep everything. */
  readonly full = $derived.by(
    () => new Set(this.drawn === undefined ? [] : meaningOf(this.drawn).full.map(formatHead)),
  );
  /** Query heads that are ablated. */
  readonly ablated = $derived.by(() => (this.drawn === undefined ? [] : meaningOf(this.drawn).ablated.map(formatHead)));

  /** True if the choice is about query heads that are ablated. */
  readonly ablates = $derived.by(() =>
    this.choice.source === "heads" ? this.choice.effect === "ablate" : this.ablated.length > 0,
  );

  /** Id in the library, where the mask is in it as it stands. */
  readonly savedAs = $derived.by(() =>
    this.choice.source === "library" ? this.choice.library || undefined : this.#saved.get(JSON.stringify(this.ask)),
  );

  /** The mask as the command line has it. */
  readonly file = $derived.by(() => maskFile(this.choice, this.savedAs, this.mask));

  /** The same with what else the command line needs to know. */
  readonly masking = $derived.by(
    (): Masking => ({ streams: this.mask?.kvHeads !== undefined, file: this.file, ablated: this.ablated }),
  );

  #value(): number {
    const { rule, top, quantile, threshold } = params;
    const info = workspace.info.value;
    if (rule.value === "quantile") return quantile.value;
    if (rule.value === "threshold")
      return Number.isNaN(threshold.value) ? (this.range[0] + this.range[1]) / 2 : threshold.value;
    if (info === undefined) return 0;
    return Number.isNaN(top.value) ? (this.searched?.full?.[0] ?? defaultTop(info)) : Math.min(top.value, this.total);
  }

  #window(): { sink: number; recent: number } {
    const usual = defaultWindow(workspace.info.value?.config.n_ctx ?? Infinity);
    const or = (value: number, otherwise: number): number => (Number.isNaN(value) ? otherwise : value);
    return { sink: or(params.sink.value, usual.sink), recent: or(params.recent.value, usual.recent) };
  }

  /** Keeps to the mask of the choice; run in an effect of the page. */
  follow(): void {
    const { ask } = this;
    const digest = workspace.info.value?.digest;
    const none = ask === undefined || "missing" in ask;
    this.answer.follow(none ? undefined : [digest, ask], none ? undefined : (call) => made(ask, call));
  }

  /**
   * Turns cells of the grid: KV heads from streaming to full and back, or query heads from kept to ablated.
   * Several dragged over are added, so that a slip of the pointer takes nothing away.
   */
  turn(names: readonly string[], mode: SelectMode): void {
    const how = mode === "replace" ? "add" : mode;
    if (this.ablates) {
      view.change({
        ...params.source.to("heads"),
        ...params.effect.to("ablate"),
        ...selection.to(picked(this.ablated, names, how)),
      });
      return;
    }
    this.byHand(picked([...this.full], names, how));
  }

  /** Goes on by hand from the heads that are full now, or from others. */
  byHand(kvHeads: readonly string[] = [...this.full]): void {
    const { sink, recent } = this.mask ?? this.choice;
    view.change({
      ...params.source.to("hand"),
      ...params.kvHeads.to(kvHeads),
      ...params.sink.to(sink),
      ...params.recent.to(recent),
    });
  }

  /** Puts the mask into the library. @throws ApiError */
  async save(name: string): Promise<string> {
    const { ask } = this;
    const request = ask !== undefined && "post" in ask ? ask.post : { mask: this.mask };
    const { id } = await post<{ id: string }>("/api/masks", { ...request, name });
    this.#saved = new Map([...this.#saved, [JSON.stringify(ask), id]]);
    return id;
  }

  /** Takes a mask out of the library. @throws ApiError */
  async remove(id: string): Promise<void> {
    await deleteAt(`/api/masks/${id}`);
    this.#saved = new Map([...this.#saved].filter(([, saved]) => saved !== id));
    if (params.library.value === id) params.library.value = "";
  }
}

async function made(ask: Exclude<MaskAsk, { missing: string }>, call: CallOptions): Promise<HeadMask> {
  if ("read" in ask) return get<HeadMask>(`/api/masks/${ask.read}`, call);
  return (await post<{ mask: HeadMask }>("/api/masks", ask.post, call)).mask;
}

export const maskState = new MaskState();
