import { untrack } from "svelte";
import type { HeadMask } from "../../../backend/heads/mask.ts";
import type { GenerateRequest, GenerateResult } from "../../../backend/server/api.ts";
import { stream } from "../api/client.ts";
import { Latest } from "../api/latest.svelte.ts";
import { choice, flag, number, text } from "../state/codecs.ts";
import { prompt } from "../state/prompt.svelte.ts";
import { urlParam } from "../state/url.svelte.ts";
import { workspace } from "../state/workspace.svelte.ts";
import { compareTokens } from "./differ.ts";
import { longExample } from "./example.ts";
import { readStops } from "./stops.ts";

export const settings = {
  text: urlParam("generate-from", choice(["mine", "long"], "mine")),
  /** Sentences of the long example. */
  sentences: urlParam("sentences", number(60, { least: 12, most: 500, whole: true })),
  chat: urlParam("chat", flag()),
  maxTokens: urlParam("new-tokens", number(32, { least: 1, most: 512, whole: true })),
  temperature: urlParam("temperature", number(0, { least: 0, most: 4 })),
  seed: urlParam("generate-seed", number(0, { least: 0, whole: true })),
  /** As a person writes them: see `readStops`. */
  stop: urlParam("stop", text()),
  prefill: urlParam("prefill", choice(["masked", "dense"], "masked")),
};

/** A new token as it came. */
export interface NewToken {
  readonly id: number;
  readonly text: string;
  readonly probability: number;
}

/** A continuation, whole or on the way. */
export interface Continuation {
  readonly tokens: readonly NewToken[];
  /** Once it has ended. */
  readonly result?: GenerateResult;
}

/** The same prompt continued with every head full and with the mask, one after the other so that the times are fair. */
class Comparison {
  readonly full = new Latest<Continuation>();
  readonly masked = new Latest<Continuation>();
  /** What the sides were made from. */
  #made = $state.raw<{ full: string; masked: string; maxTokens: number }>();
  #cancelled = false;
  #digest: string | undefined;
  running = $state(false);

  /** The text is an example only where there is a tokenizer to read it. */
  readonly long = $derived(settings.text.value === "long" && workspace.info.value?.tokenizer !== undefined);

  /** What is continued; undefined while the model is unknown. */
  readonly request = $derived.by((): GenerateRequest | undefined => {
    const given = this.long ? { model: workspace.model, text: longExample(settings.sentences.value) } : prompt.request;
    if (given === undefined) return undefined;
    const stop = readStops(settings.stop.value);
    const chat = settings.chat.value && workspace.info.value?.tokenizer?.chat === true;
    return {
      ...(given as { model: string; text: string }),
      ...(chat ? { chat } : {}),
      maxTokens: settings.maxTokens.value,
      temperature: settings.temperature.value,
      seed: settings.seed.value,
      ...(stop.length > 0 ? { stop } : {}),
    };
  });

  /** How the sides differ, once both have ended. */
  readonly difference = $derived.by(() => {
    const [full, masked] = [this.full.value?.result, this.masked.value?.result];
    return full && masked ? compareTokens(full.ids, masked.ids) : undefined;
  });

  /** Most new tokens of the run that is shown. */
  get maxTokens(): number {
    return this.#made?.maxTokens ?? settings.maxTokens.value;
  }

  /** Whether what is shown was made with other settings or another mask than those of now. */
  stale(mask: HeadMask | undefined): boolean {
    const { request } = this;
    if (this.#made === undefined || request === undefined || this.running) return false;
    return this.#made.full !== JSON.stringify(request) || this.#made.masked !== JSON.stringify(withMask(request, mask));
  }

  async run(mask: HeadMask): Promise<void> {
    const { request } = this;
    if (request === undefined) return;
    const second = withMask(request, mask);
    const made = { full: JSON.stringify(request), masked: JSON.stringify(second), maxTokens: settings.maxTokens.value };
    // Another mask on the same text needs one side only; the same again measures both anew.
    const before = this.#made;
    const keepsFull =
      before?.full === made.full && before.masked !== made.masked && this.full.value?.result !== undefined;
    this.#made = made;
    this.#cancelled = false;
    this.running = true;
    try {
      this.masked.clear();
      if (!keepsFull) await this.full.ask((signal, update) => continued(request, signal, update));
      if (this.full.outcome.state === "ready" && !this.#cancelled)
        await this.masked.ask((signal, update) => continued(second, signal, update));
    } finally {
      this.running = false;
    }
  }

  cancel(): void {
    this.#cancelled = true;
    this.full.cancel();
    this.masked.cancel();
  }

  /** Forgets both sides where the model has changed: they are of one model's weights. Run in an effect of the page. */
  follow(): void {
    const now = workspace.info.value?.digest;
    if (now === undefined || now === this.#digest) return;
    this.#digest = now;
    untrack(() => {
      this.cancel();
      this.full.clear();
      this.masked.clear();
      this.#made = undefined;
    });
  }
}

/** The request with a mask: the server knows what it says of windows and of ablated heads. */
function withMask(request: GenerateRequest, mask: HeadMask | undefined): GenerateRequest {
  return mask === undefined ? request : { ...request, mask, prefill: settings.prefill.value };
}

async function continued(
  request: GenerateRequest,
  signal: AbortSignal,
  update: (value: Continuation) => void,
): Promise<Continuation> {
  const tokens: NewToken[] = [];
  update({ tokens });
  for await (const { event, data } of stream("/api/generate", request, signal)) {
    if (event === "token") {
      tokens.push(data as NewToken);
      update({ tokens: [...tokens] });
    }
    if (event !== "done") continue;
    const result = data as GenerateResult;
    // Tokens of a stop text were streamed, and are no part of the result.
    return { tokens: result.tokens.map((text, i) => ({ ...tokens[i]!, text })), result };
  }
  throw signal.aborted
    ? new DOMException("cancelled", "AbortError")
    : new Error("the generation ended without a result");
}

export const comparison = new Comparison();
