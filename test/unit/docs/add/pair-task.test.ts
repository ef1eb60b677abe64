import { expect, it } from "vitest";
import type { Model } from "../../../../backend/models/model.ts";
import { type PairTask, pairTasks, samplePairs } from "../../../../synthetic-tasks/pairs/index.ts";
import { loadAsFile, readPage, typescriptOf } from "../../../helpers/docs.ts";

it("the task of docs/add-a-pair-task.md gives pairs as it stands there", async () => {
  const { article } = await loadAsFile<{ article: PairTask }>(typescriptOf("docs/add-a-pair-task.md"));
  const ids = new Map<string, number>();
  const encode = (text: string): number[] =>
    (text.match(/ ?\w+/g) ?? []).map((word) => ids.get(word) ?? ids.set(word, ids.size).size - 1);
  const model = { ref: "words", config: { d_vocab: 99, n_ctx: 99 }, tokenizer: { encode } } as unknown as Model;
  const { pairs } = samplePairs(model, article, article.parameters.parse({}), { count: 12, seed: 1 });
  for (const { clean, answer } of pairs) expect(/ an$/.test(clean as string)).toBe(/^ [aeiou]/.test(answer as string));
});

it("docs/add-a-pair-task.md has SmolLM2's figures for every task", () => {
  for (const name of pairTasks.names())
    expect(readPage("docs/add-a-pair-task.md")).toMatch(new RegExp(`\\| ${name} +\\|`));
});
