import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generate } from "../../backend/inference/generate.ts";
import type { Model } from "../../backend/models/model.ts";
import { answerScore, contextTasks, drawCase } from "../../synthetic-tasks/contexts/index.ts";
import { havePulled, loadSmollm2, onSmolLm2 } from "../helpers/smollm2.ts";

describe.skipIf(!havePulled)(onSmolLm2("tasks over long contexts on SmolLM2 with full attention"), () => {
  let model: Model;

  beforeAll(async () => {
    model = await loadSmollm2();
  });
  afterAll(() => model.dispose());

  const draw = (name: string, tokens: number, number: number) =>
    drawCase(model.tokenizer!, contextTasks.get(name), contextTasks.parse(name) as Record<string, unknown>, {
      tokens,
      number,
    });

  it.each(["needle", "common-words"])("are answered far above chance: %s", async (name) => {
    const maxTokens = contextTasks.get(name).answerTokens(contextTasks.parse(name) as Record<string, unknown>);
    const scores: number[] = [];
    const chances: number[] = [];
    for (const number of [0, 1, 2, 3]) {
      const { prompt, questions } = draw(name, 300, number);
      const { text } = await generate(model, {
        tokens: [...prompt.context, ...prompt.questions[0]!.request, ...prompt.questions[0]!.lead],
        maxTokens,
      });
      scores.push(answerScore(text!, questions[0]!.answers));
      chances.push(questions[0]!.chance);
    }
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    expect(mean(scores)).toBeGreaterThanOrEqual(0.5);
    expect(mean(chances)).toBeLessThan(0.15);
  });

  it.each(contextTasks.names().filter((name) => contextTasks.get(name).scoring === "answers"))(
    "have prompts in parts that are the ids of the whole text in the chat template: %s",
    (name) => {
      const tokenizer = model.tokenizer!;
      const { context, questions, prompt } = draw(name, 512, 0);
      const [first, second] = questions;
      const user = (content: string) => ({ role: "user", content });
      const whole = (messages: { role: string; content: string }[], lead = "") =>
        tokenizer.encode(tokenizer.chat(messages, { addGenerationPrompt: true }) + lead, { prependBos: false });
      const asked = user(`${context}\n\n${first!.question}`);
      const [{ request, turn, lead }, next] = [prompt.questions[0]!, prompt.questions[1]!];
      expect([...prompt.context, ...request, ...lead]).toEqual(whole([asked], first!.lead));
      const answer = tokenizer.encode(" lemon.", { prependBos: false });
      const turns = [...prompt.context, ...turn, ...lead, ...answer, ...next.turn, ...next.lead];
      const given = { role: "assistant", content: `${first!.lead} lemon.` };
      expect(turns).toEqual(whole([asked, given, user(second!.question)], second!.lead));
    },
  );
});
