import type { Prompt, PromptInput } from "../../../backend/common/api/prompts.ts";
import { ApiError, type CallOptions, post } from "../api/client.ts";
import { Answer } from "./answer.svelte.ts";
import { choice, text } from "./codecs.ts";
import { urlParam } from "./url.svelte.ts";
import { workspace } from "./workspace.svelte.ts";

/** Says a name and an address twice: what follows the second time is copied from the first. */
const DEFAULT_TEXT =
  "Ada Pellworth, of number nine, Tallow Street, kept bees on her roof. The whole town bought honey from Ada Pellworth, of number nine, Tallow";

/** The user's own text; of models without a tokenizer token ids with spaces between. */
export const promptText = urlParam("text", text(DEFAULT_TEXT));
/** BOS before it: as the tokenizer does, on, or off. */
export const promptBos = urlParam("bos", choice(["auto", "on", "off"], "auto"));

/** A page about the user's text that the card of a head leads to. */
export type TextPage = "attention" | "ablation";

/** A text that a page is about in place of the user's own. */
export interface Lent {
  /** The text; token ids with spaces between for models without a tokenizer. */
  readonly text: string;
  /** Its name, such as "the clean prompt". */
  readonly name: string;
  /** Parameters for `view.href` so that a page is about it, where more than the text goes there. */
  readonly to?: (page: TextPage) => Record<string, string | undefined>;
}

/** The user's prompt on the present model: run once, read by every page. */
class PromptState {
  readonly answer = new Answer<Prompt>();
  #lent = $state.raw<Lent>();
  #last: Prompt | undefined;

  /** The prompt as the present model read it; undefined until it has. */
  get value(): Prompt | undefined {
    return this.answer.value;
  }

  /** All that decides what is known of the prompt: a part of every question about it. Undefined while the model is unknown. */
  readonly question: unknown = $derived.by(() => {
    const { request } = this;
    return request && [workspace.info.value?.digest, request];
  });

  /** The user's text as the present model takes it: the text itself, or the ids that a model without a tokenizer is given. */
  get shown(): string {
    const { request } = this;
    return request !== undefined && "tokens" in request
      ? request.tokens.join(" ")
      : (this.#lent?.text ?? promptText.value);
  }

  /** The text that the page is about in place of the user's own. */
  get lent(): Lent | undefined {
    return this.#lent;
  }

  /** Has the prompt be another text while a page is about that; run in an effect. @returns ends that */
  lend(text: Lent): () => void {
    this.#lent = text;
    return () => {
      if (this.#lent === text) this.#lent = undefined;
    };
  }

  /** Parameters for `view.href` so that another page is about the text of this one, and asks its question. */
  carried(page: TextPage): Record<string, string | undefined> {
    const lent = this.#lent;
    return lent === undefined ? {} : (lent.to?.(page) ?? promptText.to(lent.text));
  }

  /** The body of POST /api/prompts; undefined while the model is unknown. */
  get request(): PromptInput | undefined {
    return this.requestFor(this.#lent?.text ?? promptText.value);
  }

  /** The body of POST /api/prompts for a text; undefined while the model is unknown. */
  requestFor(given: string): PromptInput | undefined {
    const info = workspace.info.value;
    if (info === undefined || info.ref === "") return undefined;
    const { model } = workspace;
    if (info.tokenizer === undefined) {
      const ids = given
        .trim()
        .split(/[\s,]+/)
        .map(Number);
      const usable = given.trim() !== "" && ids.every((id) => Number.isInteger(id) && id >= 0);
      return { model, tokens: usable ? ids : exampleIds(info.config.d_vocab, info.config.n_ctx) };
    }
    return { model, text: given, ...(promptBos.value === "auto" ? {} : { bos: promptBos.value === "on" }) };
  }

  /** Runs the prompt where the model or the text has changed; run in an effect of the app. */
  follow(): void {
    const { request } = this;
    this.answer.follow(this.question, request && ((call) => this.#run(request, call)));
  }

  /** The same prompt keeps its identity, so that what was asked about it is not asked again. */
  async #run(request: PromptInput, call: CallOptions): Promise<Prompt> {
    const next = await post<Prompt>("/api/prompts", request, call);
    if (this.#last?.id !== next.id) this.#last = next;
    return this.#last!;
  }

  /**
   * Asks something about the prompt by its id; where the server has let go of the prompt, posts it again first.
   * @throws ApiError; Error where there is no prompt
   */
  async about<T>(ask: (id: string) => Promise<T>): Promise<T> {
    const { value } = this;
    if (value === undefined) throw new Error("there is no prompt yet");
    try {
      return await ask(value.id);
    } catch (error) {
      if (!(error instanceof ApiError) || error.problem.status !== 404) throw error;
      this.answer.again();
      const posted = await this.answer.settled();
      if (posted === undefined) throw error;
      return ask(posted.id);
    }
  }
}

/** Token ids that show copying: some of the vocabulary twice. */
function exampleIds(vocabulary: number, context: number): number[] {
  const length = Math.min(12, Math.floor((context - 1) / 2));
  const half = Array.from({ length }, (_, i) => (7 * i + 3) % vocabulary);
  return [0, ...half, ...half];
}

export const prompt = new PromptState();
