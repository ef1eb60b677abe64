import type { AblateResult, InterveneResult } from "../../../backend/common/api/interventions.ts";
import type { Candidate, Prompt } from "../../../backend/common/api/prompts.ts";
import { post } from "../api/client.ts";
import type { Control } from "../components/head-card/verdict.ts";
import { afterFrame } from "../components/plot/frame.ts";
import { Answer, type Call } from "../state/answer.svelte.ts";
import { prompt } from "../state/prompt.svelte.ts";
import { ablationRequest } from "./ablationRequest.svelte.ts";
import { controls } from "./params.ts";

/** Losses of the prompt in one run: the mean, and of each token from the second on. */
export interface PromptLosses {
  readonly loss: number;
  readonly nll: readonly number[];
}

/** The effect of the interventions on the user's prompt. */
export interface Effect {
  readonly prompt: Prompt;
  /** Heads that are taken out, LAYER.HEAD. */
  readonly heads: readonly string[];
  readonly clean: PromptLosses;
  readonly changed: PromptLosses;
  /** Absent until it is measured, without heads to draw, and beside interventions of other kinds. */
  readonly control?: Control | undefined;
  /** The same tokens in both, likeliest in either first. */
  readonly next: { readonly before: readonly Candidate[]; readonly after: readonly Candidate[] };
  /** Every metric of the held token against the wrong answer, where one was asked for. */
  readonly metrics?: AblateResult["metrics"] | undefined;
  /** True if the control is yet to come. */
  readonly pending: boolean;
  readonly ms: number;
}

const SHOWN = 10;
/** Changes that follow each other faster than this are answered once, in milliseconds. */
const PAUSE = 120;

/** The effect on the prompt, kept true to what the page asks. */
class Effects {
  readonly answer = new Answer<Effect>();

  /** Measures where something has changed: at once after a rest, else once the changes pause. Run in an effect. */
  follow(): void {
    const { interventions, contrast } = ablationRequest;
    const idle = ablationRequest.heads.length + ablationRequest.activeExtras === 0 || prompt.question === undefined;
    const request = { ...ablationRequest.request(), topTokens: SHOWN, ...(contrast ? { contrast } : {}) };
    const draws = controls.value;
    const own = prompt.value;
    const whole = ablationRequest.activeExtras > 0;
    const ask =
      own &&
      ((call: Call<Effect>) =>
        whole ? intervene(own, ablationRequest.heads, interventions, call) : ablate(own, request, draws, call));
    const question = idle ? undefined : [prompt.question, request, interventions];
    this.answer.follow(question, ask, { pause: PAUSE, after: prompt.answer });
  }
}

/** The heads alone: first without the control, which takes several times as long and begins once the losses are on screen. */
async function ablate(own: Prompt, request: object, draws: number, call: Call<Effect>): Promise<Effect> {
  const ask = (controls: number): Promise<AblateResult> =>
    prompt.about((id) => post<AblateResult>("/api/ablate", { ...request, prompt: id, controls }, call));
  const first = effectOf(own, await ask(0), draws > 0);
  if (draws === 0) return first;
  call.update(first);
  await new Promise<void>(afterFrame);
  return effectOf(own, await ask(draws), false);
}

function effectOf(own: Prompt, result: AblateResult, pending: boolean): Effect {
  const { heads, clean, ablated, control, metrics, nextToken, ms } = result;
  const line = ({ loss, nll }: AblateResult["clean"]): PromptLosses => ({ loss, nll: nll[0]! });
  const side = (which: "clean" | "ablated"): Candidate[] =>
    nextToken[0]!.map(({ id, text, [which]: probability }) => ({ id, text: text ?? String(id), probability }));
  return {
    prompt: own,
    heads,
    clean: line(clean),
    changed: line(ablated),
    control,
    metrics,
    next: { before: side("clean"), after: side("ablated") },
    pending,
    ms,
  };
}

/** Interventions of any kind, together. */
async function intervene(
  own: Prompt,
  heads: readonly string[],
  interventions: readonly unknown[],
  call: Call<Effect>,
): Promise<Effect> {
  const { clean, changed, ms } = await prompt.about((id) =>
    post<InterveneResult>("/api/intervene", { prompt: id, interventions, topTokens: SHOWN }, call),
  );
  const line = ({ loss, nll }: InterveneResult["clean"]): PromptLosses => ({ loss: loss ?? Number.NaN, nll });
  return {
    prompt: own,
    heads,
    clean: line(clean),
    changed: line(changed),
    next: { before: clean.next, after: changed.next },
    pending: false,
    ms,
  };
}

export const effects = new Effects();
