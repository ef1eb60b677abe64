import type { GenerateRequest } from "../../../../backend/common/api/generation.ts";
import { type NewToken, streamGeneration } from "../../api/generation.ts";
import { Answer, type Ask } from "../../state/answer.svelte.ts";
import { prompt } from "../../state/prompt.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { ablationRequest } from "../ablationRequest.svelte.ts";
import { effects } from "../effects.svelte.ts";
import { newTokens } from "../params.ts";

/** New tokens so far, each with its probability. */
export interface Continuation {
  readonly tokens: readonly NewToken[];
  readonly done: boolean;
}

/** Time that the choice stands before the continuations are written, in milliseconds: they take the worker for longer. */
const REST = 350;
/** Seconds that they may take unasked: they are told of token by token, and keep nobody waiting. */
const PATIENCE = 60;

/** The prompt's continuation with all heads and without those taken out, written one after the other, once the losses are there. */
class Continuations {
  readonly clean = new Answer<Continuation>();
  readonly changed = new Answer<Continuation>();

  /** Run in an effect. */
  follow(): void {
    const ids = prompt.value?.ids;
    const idle = newTokens.value === 0;
    const measured = effects.answer.state !== "loading";
    const question = idle || prompt.question === undefined ? undefined : [prompt.question, newTokens.value];
    const ask = (heads: readonly string[]) => (ids && measured ? continued(ids, heads) : undefined);
    this.clean.follow(question, ask([]), { pause: REST, patience: PATIENCE, after: prompt.answer as Answer<unknown> });
    const { heads } = ablationRequest;
    const written = this.clean.state !== "loading";
    const changed = question === undefined || heads.length === 0 ? undefined : [question, heads];
    this.changed.follow(changed, written ? ask(heads) : undefined, {
      pause: REST,
      patience: PATIENCE,
      after: this.clean as Answer<unknown>,
    });
  }
}

/** Asks for the continuation without some heads, told of token by token. */
function continued(tokens: readonly number[], ablate: readonly string[]): Ask<Continuation> {
  const request: GenerateRequest = { model: workspace.model, tokens, maxTokens: newTokens.value, ablate };
  return async (call) => {
    const { tokens: all } = await streamGeneration(request, call, (some) => call.update({ tokens: some, done: false }));
    return { tokens: all, done: true };
  };
}

export const continuations = new Continuations();
