import type { GenerateRequest, GenerateResult } from "../../../backend/server/api.ts";
import { stream } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { prompt } from "../state/prompt.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { asked } from "./asked.svelte.ts";
import { effects } from "./effects.svelte.ts";
import { newTokens } from "./params.ts";

/** New tokens so far, each with its probability. */
export interface Continuation {
  readonly tokens: readonly { readonly id: number; readonly text: string; readonly probability: number }[];
  readonly done: boolean;
}

/** How long the losses stand before the continuations are written, in milliseconds: they take the worker for longer. */
const REST = 350;

/** The prompt's continuation with all heads and without those taken out, written one after the other. */
class Continuations {
  readonly clean = new Latest<Continuation>();
  readonly changed = new Latest<Continuation>();
  #cleanKey = "";
  #changedKey = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Writes what has changed, once the losses are there. Run in an effect. */
  follow(): void {
    const ids = prompt.value?.ids;
    const idle = ids === undefined || newTokens.value === 0;
    const cleanKey = idle ? "" : JSON.stringify([prompt.value?.id, newTokens.value]);
    const changedKey = idle || asked.heads.length === 0 ? "" : JSON.stringify([cleanKey, asked.heads]);
    const busy = effects.latest.loading || prompt.latest.loading;
    if (changedKey !== this.#changedKey) this.changed.clear();
    if (cleanKey !== this.#cleanKey) this.clean.clear();
    clearTimeout(this.#timer);
    if (busy) {
      // What is no longer asked for makes room for what is, and is written again when it is asked for again.
      if (cleanKey !== this.#cleanKey) this.#cleanKey = "";
      if (changedKey !== this.#changedKey) this.#changedKey = "";
      return;
    }
    if (cleanKey === this.#cleanKey && changedKey === this.#changedKey) return;
    this.#timer = setTimeout(() => this.#write(cleanKey, changedKey), REST);
  }

  /** Writes both again. */
  again(): void {
    [this.#cleanKey, this.#changedKey] = ["", ""];
    this.follow();
  }

  #write(cleanKey: string, changedKey: string): void {
    const heads = asked.heads;
    const clean = cleanKey !== "" && cleanKey !== this.#cleanKey ? this.clean.ask(continued([])) : Promise.resolve();
    const changed = changedKey !== "" && changedKey !== this.#changedKey;
    [this.#cleanKey, this.#changedKey] = [cleanKey, changedKey];
    if (changed)
      clean.then(() => {
        if (changedKey === this.#changedKey) this.changed.ask(continued(heads));
      });
  }
}

/** A request for the continuation without some heads, told of token by token. */
function continued(ablate: readonly string[]) {
  const { model } = workspace;
  const request: GenerateRequest = { model, tokens: prompt.value!.ids, maxTokens: newTokens.value, ablate };
  return async (signal: AbortSignal, update: (value: Continuation) => void): Promise<Continuation> => {
    let tokens: Continuation["tokens"] = [];
    for await (const { event, data } of stream("/api/generate", request, signal)) {
      if (event === "token") {
        tokens = [...tokens, data as Continuation["tokens"][number]];
        update({ tokens, done: false });
      } else if (event === "done") {
        // The result's texts are those of each token alone; a token on the way may hold back bytes of a character.
        const result = data as GenerateResult;
        tokens = result.ids.map((id, i) => ({
          id,
          text: result.tokens[i]!,
          probability: tokens[i]?.probability ?? Number.NaN,
        }));
      }
    }
    return { tokens, done: true };
  };
}

export const continuations = new Continuations();
