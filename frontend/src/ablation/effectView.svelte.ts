import type { Prompt } from "../../../backend/common/api/prompts.ts";
import { counted } from "../../../backend/common/text.ts";
import type { Table } from "../components/card/files.ts";
import { visible } from "../format.ts";

import { prompt, promptBos, promptText } from "../state/prompt.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { ablationRequest } from "./ablationRequest.svelte.ts";
import { type CommandPart, lossCommand, type Setting } from "./commands.ts";
import { type Effect, effects } from "./effects.svelte.ts";
import { type LossLines, lossTable } from "./loss/figures.ts";
import { type PartInput, partFor, type ShownPart, shownPart, textParts } from "./loss/part.ts";
import { answerMetric, controls, method, partParam, seed } from "./params.ts";

/** A set of heads that is taken out, in words: "without 18.6", "without 3 heads". */
export function withoutText(heads: readonly string[]): string {
  return heads.length === 0
    ? "without heads"
    : `without ${heads.length === 1 ? heads[0] : counted(heads.length, "head")}`;
}

/** A text, and what was measured on it. */
export interface TextEffect {
  readonly prompt: Prompt;
  readonly effect: Effect | undefined;
  /** True if it answers another question than the present one. */
  readonly stale: boolean;
}

/** The effect on the prompt as the cards show it. */
class EffectView {
  /** Token under the pointer. */
  pointed = $state<number>();

  /** The effect under the present question. */
  get effect(): Effect | undefined {
    return effects.answer.value;
  }

  /** The losses to show: the effect, else the text alone, else what answered the question before. */
  readonly measured: TextEffect | undefined = $derived.by(() => {
    const { value, before } = effects.answer;
    if (value) return { prompt: value.prompt, effect: value, stale: false };
    if (before) return { prompt: before.prompt, effect: before, stale: true };
    if (prompt.value) return { prompt: prompt.value, effect: undefined, stale: false };
    return prompt.answer.before && { prompt: prompt.answer.before, effect: undefined, stale: true };
  });

  /** Name of an outdated answer. */
  readonly of: string = $derived(prompt.value === undefined ? "of the text before" : "of the choice before");

  /** All that decides the parts of the shown text; undefined while there is none. A text that is no longer there has no held token. */
  readonly #partInput: PartInput | undefined = $derived.by(() => {
    if (this.measured === undefined) return undefined;
    const { prompt: own, stale } = this.measured;
    const { held, contrast, trained, heads, activeExtras } = ablationRequest;
    return {
      ids: own.ids,
      tokens: own.tokens,
      held: stale && prompt.value === undefined ? undefined : held,
      answered: contrast !== undefined && heads.length > 0 && activeExtras === 0,
      trained,
    };
  });

  /** The parts of the text that the verdict can be about. */
  readonly parts: ReturnType<typeof textParts> = $derived(this.#partInput ? textParts(this.#partInput) : []);

  /** The part that the verdict, its control and its command are about; undefined while there is no text. */
  readonly part: ShownPart | undefined = $derived(
    this.#partInput && shownPart(partFor(partParam.value, this.#partInput), this.#partInput),
  );

  /** The same as a command line asks for it. */
  readonly asked: CommandPart = $derived.by(() => {
    const { part: over = "all", held } = this.part ?? {};
    if (over === "answer") return { over, ...ablationRequest.contrast, metric: answerMetric.value };
    return { over, ...(held === undefined ? {} : { position: held }) };
  });

  /** The heads that are taken out, in words. */
  readonly without: string = $derived(withoutText(ablationRequest.heads));

  /** Everything that is done, in words. */
  readonly name: string = $derived.by(() => {
    if (ablationRequest.activeExtras === 0) return this.without;
    return ablationRequest.heads.length === 0 ? "with the interventions" : `${this.without}, with the interventions`;
  });

  /** Losses along the prompt; undefined where it has none. */
  readonly lines: LossLines | undefined = $derived.by(() => {
    if (this.measured === undefined || this.measured.prompt.nll.length === 0) return undefined;
    const { prompt: own, effect, stale } = this.measured;
    return {
      clean: effect?.clean.nll ?? own.nll,
      changed: effect?.changed.nll,
      draws: effect?.control?.draws.map(({ nll }) => nll[0]!) ?? [],
      labels: own.tokens.slice(1).map(visible),
      first: 1,
      name: stale ? withoutText(effect?.heads ?? []) : this.name,
    };
  });

  /** The choices that the numbers on the page are of. */
  readonly settings: Readonly<Record<string, unknown>> = $derived({
    text: prompt.shown,
    heads: ablationRequest.heads,
    method: method.value,
    seed: seed.value,
    controls: controls.value,
    ...this.asked,
    ...(ablationRequest.activeExtras > 0 ? { interventions: ablationRequest.extras.filter(({ off }) => !off) } : {}),
  });

  get table(): Table {
    return this.lines === undefined ? { columns: [], rows: [] } : lossTable(this.lines);
  }

  /** Setting of the prompt's command lines. */
  readonly setting: Setting = $derived.by(() => ({
    model: workspace.model,
    input:
      workspace.info.value?.tokenizer === undefined
        ? { tokens: prompt.value === undefined ? [] : [prompt.value.ids] }
        : { text: promptText.value, bos: promptBos.value },
    heads: ablationRequest.heads,
  }));

  /** The command that measures the same; undefined where there is none: it takes whole heads alone. */
  readonly command: (() => string) | undefined = $derived.by(() => {
    if (ablationRequest.heads.length === 0 || ablationRequest.activeExtras > 0) return undefined;
    return () => lossCommand(this.setting, ablationRequest.way(), this.asked);
  });
}

export const effectView = new EffectView();
