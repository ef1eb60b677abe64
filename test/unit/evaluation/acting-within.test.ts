import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { evaluate } from "../../../backend/evaluation/evaluate.ts";
import { writeGates } from "../../../backend/heads/gate-files.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { ownStops } from "../../../backend/inference/stop-rule.ts";
import type { Model } from "../../../backend/models/model.ts";
import { trainGates } from "../../../probes/gates/train.ts";
import { contextTasks, drawCase } from "../../../synthetic-tasks/contexts/index.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";
import { talkingModel } from "../../helpers/texts/talking-model.ts";

await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-within-"));
const [heads, gates] = [join(folder, "heads.safetensors"), join(folder, "gates.safetensors")];
const [LENGTH, TASK] = [640, "multi-key"];
let model: Model;

beforeAll(async () => {
  model = talkingModel({ n_layers: 2 });
  const texts = { num_steps: 1, num_passkeys: 1, passkey_length: 1, context_length_min: LENGTH, context_length_max: LENGTH, context_lengths_num_intervals: 1 }; // biome-ignore format: a table
  await writeGates(heads, await trainGates(model, "locret", { ...texts, hidden: 4 }));
  await writeGates(gates, await trainGates(model, "attention-gate", { ...texts, width: 4 }));
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

/** Policies, and whether they act on a prompt at its end alone. */
const acts = [
  { title: "locret in parts", name: "locret", params: { heads }, shares: false },
  { title: "locret in one part", name: "locret", params: { heads, part: LENGTH }, shares: true },
  { title: "attention-gate", name: "attention-gate", params: { gates }, shares: false },
  { title: "attention-gate behind a dense prompt", name: "attention-gate", params: { gates, prefill: "dense" }, shares: true }, // biome-ignore format: a table
];

it.each(acts)(
  "$title shares the read of a prompt where it acts at its end alone: $shares",
  async ({ name, params: own, shares }) => {
    const options = {
      policies: [{ name, params: own }],
      budgets: [0.25],
      tasks: [{ name: TASK }],
      lengths: [LENGTH],
      cases: 1,
    };
    const { points } = await evaluate(model, options);
    const point = points.find(({ label }) => label === name)!;
    expect(point.sharedPrefill).toBe(shares);
    const params = contextTasks.parse(TASK);
    const { prompt } = drawCase(model.tokenizer!, contextTasks.get(TASK), params, {
      tokens: LENGTH,
      number: 0,
      seed: 0,
    });
    const { text } = await generate(model, {
      tokens: [...prompt.context, ...prompt.questions[0]!.request],
      lead: prompt.questions[0]!.lead,
      policies: point.policies,
      maxTokens: contextTasks.get(TASK).answerTokens(params),
      stop: ownStops(model, prompt.stop),
    });
    expect(point.cases[0]!.questions[0]!.text).toBe(text);
    const requests = await evaluate(model, { ...options, mode: "requests" });
    expect(requests.points.find(({ label }) => label === name)!.byQuestion).toHaveLength(3);
  },
);
