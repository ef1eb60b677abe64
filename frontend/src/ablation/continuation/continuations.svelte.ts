import type { GenerateRequest, GenerateResult } from "../../../../backend/server/api.ts";
import { stream } from "../../api/client.ts";
import { Answer, type Ask } from "../../state/answer.svelte.ts";
import { prompt } from "../../state/prompt.svelte.ts";
import { workspace } from "../../state/workspace.svelte.ts";
import { ablationRequest } from "../ablationRequest.svelte.ts";
import { effects } from "../effects.svelte.ts";
import { newTokens } from "../params.ts";

/** New tokens so far, each with its probability. */
export interface Continuation {
  readonly tokens: readonly { readonly id: number; readonly text: string; readonly probability: number }[];
  readonly done: boolean;
}

/** How long the choice stands before the continuations are written, in milliseconds: they take the worker for longer. */
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
    let made: Continuation["tokens"] = [];
    for await (const { event, data } of stream("/api/generate", request, call)) {
      if (event === "token") {
        made = [...made, data as Continuation["tokens"][number]];
        call.update({ tokens: made, done: false });
      } else if (event === "done") {
        // The result's texts are those of each token alone; a token on the way may hold back bytes of a character.
        const result = data as GenerateResult;
        made = result.ids.map((id, i) => ({
          id,
          text: result.tokens[i]!,
          probability: made[i]?.probability ?? Number.NaN,
        }));
      }
    }
    return { tokens: made, done: true };
  };
}

export const continuations = new Continuations();
