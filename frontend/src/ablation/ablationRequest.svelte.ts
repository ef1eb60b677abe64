import { hasHead, readHead } from "../../../backend/common/heads/head.ts";
import { Random, randomRows } from "../../../backend/common/random.ts";
import { readRun } from "../../../backend/common/run-reference.ts";
import type { Intervention } from "../../../backend/hooks/intervention-schema.ts";
import { questionOfPair, type TextQuestion } from "../patching/question.ts";
import { hold, positionIn } from "../state/hold.ts";
import { prompt, promptText } from "../state/prompt.svelte.ts";
import { selection } from "../state/selection.svelte.ts";
import { view } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import type { AblationWay } from "./commands.ts";
import { activeInterventions, type Extra, type HeadAblation, type Rows } from "./interventions/interventions.ts";
import { byPosition, controls, extras, heldToken, method, seed, switchedOff, wrongToken } from "./params.ts";

/** Rows that mean and resample draw from. */
const REFERENCE_ROWS = 8;

/** The work that the page asks for, read from the URL, as every part of the page needs it. */
class AblationRequest {
  /** Selected heads that the model has and that are not switched off. */
  readonly heads: readonly string[] = $derived.by(() => {
    const off = new Set(switchedOff.value);
    return this.selected.filter((head) => !off.has(head));
  });

  /** Selected heads that the model has. */
  readonly selected: readonly string[] = $derived.by(() => {
    const info = workspace.info.value;
    if (info === undefined) return [];
    return selection.value.filter((name) => hasHead(info, readHead(name)));
  });

  readonly extras: readonly Extra[] = $derived(extras.value);
  readonly activeExtras: number = $derived(this.extras.filter(({ off }) => !off).length);

  /** Position of the token that is held in the present text; undefined for none. */
  readonly held: number | undefined = $derived(positionIn(heldToken.value, prompt.request));

  /** Holds a token of the present text, or lets it go; another token has no wrong answer. */
  hold(position: number | undefined): void {
    view.change({ ...heldToken.to(hold(position, prompt.request)), ...wrongToken.to(-1) });
  }

  /** The question about the text: the held token against the wrong one, else the pair's, unless another token is held. */
  readonly contrast: TextQuestion | undefined = $derived.by(() => {
    if (this.held !== undefined && this.held >= 1 && wrongToken.value >= 0)
      return { position: this.held, wrong: wrongToken.value };
    return this.held === undefined ? questionOfPair(promptText.value) : undefined;
  });

  /** The part of a text that the model was trained on, where it is a run's and the task says so. */
  readonly trained: "repeated" | undefined = $derived.by(() => {
    const id = readRun(workspace.model)?.id;
    const task = workspace.runs.value?.find((run) => run.id === id)?.task;
    return workspace.definitions.value?.tasks.find(({ name }) => name === task)?.part;
  });

  /** BOS of the model's rows: its tokenizer's, or 0 as in the token tasks. */
  readonly bos: number = $derived(workspace.info.value?.tokenizer?.bos?.id ?? 0);

  /** Random tokens as long as the prompt; the command takes the same ones as a file. */
  readonly reference: Rows = $derived.by(() => this.referenceFor(prompt.value?.ids.length ?? 0));

  referenceFor(length: number): Rows {
    const info = workspace.info.value;
    if (info === undefined || length < 2 || method.value === "zero") return [];
    const pool = { vocabulary: info.config.d_vocab, first: this.bos };
    return randomRows(pool, REFERENCE_ROWS, length, new Random(seed.value));
  }

  readonly ablation: HeadAblation = $derived({
    heads: this.heads,
    method: method.value,
    byPosition: method.value === "mean" && byPosition.value,
    seed: seed.value,
    reference: this.reference,
  });

  /** The same with the control, as a command line says it. @param reference rows of at least the measured rows' length */
  way(reference: Rows = this.reference): AblationWay {
    const { method, byPosition, seed } = this.ablation;
    return { method, byPosition, controls: controls.value, seed, reference };
  }

  /** Everything that is switched on, as data. */
  readonly interventions: readonly Intervention[] = $derived(activeInterventions(this.ablation, this.extras));

  /** The body of POST /api/ablate, without the prompt or rows. @param reference rows of at least the measured rows' length */
  request(reference: Rows = this.reference): Record<string, unknown> {
    const { heads, byPosition } = this.ablation;
    return {
      heads,
      method: method.value,
      seed: seed.value,
      controls: controls.value,
      ...(byPosition ? { byPosition } : {}),
      ...(method.value === "zero" ? {} : { reference }),
    };
  }
}

export const ablationRequest = new AblationRequest();
