import { Recent } from "../../runtime/recent.ts";
import { notFound } from "../http/problems.ts";

/** A prompt that was run: enough to run it again. */
export interface PromptTokens {
  readonly model: string;
  readonly ids: readonly number[];
}

/** The latest prompts by id; those that were not asked about for longest make room. */
export class Prompts {
  readonly #prompts: Recent<PromptTokens>;

  /** @param most prompts that are kept */
  constructor(most: number) {
    this.#prompts = new Recent({ entries: most });
  }

  put(id: string, { model, ids }: PromptTokens): void {
    this.#prompts.set(id, { model, ids });
  }

  /** @throws Refusal 404 */
  get(id: string): PromptTokens {
    const prompt = this.#prompts.get(id);
    if (prompt === undefined) throw notFound(`prompt ${id} is not known here any more`, "POST /api/prompts again");
    return prompt;
  }
}
