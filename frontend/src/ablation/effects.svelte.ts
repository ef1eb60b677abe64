import { untrack } from "svelte";
import type { AblateResult, Candidate, InterveneResult } from "../../../backend/server/api.ts";
import { post } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { prompt } from "../state/prompt.svelte.ts";
import { asked } from "./asked.svelte.ts";
import type { Control } from "./effect.ts";
import { controls } from "./params.ts";

/** Losses of the prompt in one run: the mean, and of each token from the second on. */
export interface Line {
  readonly loss: number;
  readonly nll: readonly number[];
}

/** What the interventions do to the user's prompt. */
export interface Effect {
  /** Heads that are taken out, LAYER.HEAD. */
  readonly heads: readonly string[];
  readonly clean: Line;
  readonly changed: Line;
  /** Absent until it is measured, without heads to draw, and beside interventions of other kinds. */
  readonly control?: Control;
  /** The same tokens in both, likeliest in either first. */
  readonly next: { readonly before: readonly Candidate[]; readonly after: readonly Candidate[] };
  /** Whether the control is yet to come. */
  readonly pending: boolean;
  readonly ms: number;
}

const SHOWN = 10;
/** Changes that follow each other faster than this are answered once, in milliseconds. */
const PAUSE = 120;

/** The effect on the prompt, kept true to what the page asks. */
class Effects {
  readonly latest = new Latest<Effect>();
  #key = "";
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Measures where something has changed: at once after a rest, else once the changes pause. Run in an effect. */
  follow(): void {
    const idle = asked.heads.length + asked.activeExtras === 0 || prompt.value === undefined;
    const key = idle ? "" : JSON.stringify([prompt.value?.id, asked.request(), asked.interventions]);
    if (key === this.#key) return;
    this.#key = key;
    clearTimeout(this.#timer);
    const rested = performance.now() - this.#last > PAUSE;
    this.#last = performance.now();
    if (idle) untrack(() => this.latest.clear());
    else if (rested) untrack(() => this.again());
    else this.#timer = setTimeout(() => this.again(), PAUSE);
  }

  again(): void {
    this.latest.ask((signal, update) => (asked.activeExtras > 0 ? intervene(signal) : ablate(signal, update)));
  }
}

/** The heads alone: first without the control, which takes several times as long. */
async function ablate(signal: AbortSignal, update: (effect: Effect) => void): Promise<Effect> {
  const request = { ...asked.request(), topTokens: SHOWN };
  const ask = (draws: number): Promise<AblateResult> =>
    prompt.about((id) => post<AblateResult>("/api/ablate", { ...request, prompt: id, controls: draws }, signal));
  const draws = controls.value;
  const first = effectOf(await ask(0), draws > 0);
  if (draws === 0) return first;
  update(first);
  return effectOf(await ask(draws), false);
}

function effectOf({ heads, clean, ablated, control, nextToken, ms }: AblateResult, pending: boolean): Effect {
  const line = ({ loss, nll }: AblateResult["clean"]): Line => ({ loss, nll: nll[0]! });
  const side = (which: "clean" | "ablated"): Candidate[] =>
    nextToken[0]!.map(({ id, text, [which]: probability }) => ({ id, text: text ?? String(id), probability }));
  return {
    heads,
    clean: line(clean),
    changed: line(ablated),
    ...(control === undefined ? {} : { control }),
    next: { before: side("clean"), after: side("ablated") },
    pending,
    ms,
  };
}

/** Interventions of any kind, together. */
async function intervene(signal: AbortSignal): Promise<Effect> {
  const { interventions } = asked;
  const { clean, changed, ms } = await prompt.about((id) =>
    post<InterveneResult>("/api/intervene", { prompt: id, interventions, topTokens: SHOWN }, signal),
  );
  const line = ({ loss, nll }: InterveneResult["clean"]): Line => ({ loss: loss ?? Number.NaN, nll });
  return {
    heads: asked.heads,
    clean: line(clean),
    changed: line(changed),
    next: { before: clean.next, after: changed.next },
    pending: false,
    ms,
  };
}

export const effects = new Effects();
