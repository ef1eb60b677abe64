import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EvaluatedCase, EvaluatedPoint, PolicyEvaluation } from "../../../backend/common/api/evaluations.ts";
import { maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { evaluate } from "../../../backend/evaluation/evaluate.ts";
import type { EvaluateOptions } from "../../../backend/evaluation/plan.ts";
import { writeMask } from "../../../backend/heads/files.ts";
import type { Intervention } from "../../../backend/hooks/intervention-schema.ts";
import { generate } from "../../../backend/inference/generate.ts";
import type { PolicyRequest } from "../../../backend/inference/policies/choice.ts";
import { policies } from "../../../backend/inference/policies/index.ts";
import { ownStops } from "../../../backend/inference/stop-rule.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import type { Model } from "../../../backend/models/model.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { contextTasks, type DrawnCase, drawCase } from "../../../synthetic-tasks/contexts/index.ts";
import { kernelsHere } from "../../helpers/kernels/here.ts";
import { leavesNoTensors } from "../../helpers/models.ts";
import { talkingModel } from "../../helpers/texts/talking-model.ts";

await kernelsHere();
let model: Model;
const LENGTH = 640;
const TASK = "multi-key";
/** Policies that choose tokens and need no file. */
const TOKEN_POLICIES = policies
  .list()
  .filter(({ chooses, parameters }) => chooses === "tokens" && parameters.safeParse({}).success)
  .filter(({ name }) => !policies.flags(name).some(({ file }) => file !== undefined))
  .map(({ name }) => name);

beforeAll(async () => {
  model = talkingModel({ n_layers: 2 });
  await generate(model, { tokens: [1] }); // makes the tables of rotations, which the model keeps
});
afterAll(() => model.dispose());

const options = (changes: Partial<EvaluateOptions> = {}): EvaluateOptions => ({
  policies: TOKEN_POLICIES.map((name) => ({ name })),
  budgets: [0.25],
  tasks: [{ name: TASK }],
  lengths: [LENGTH],
  cases: 2,
  ...changes,
});

/** An evaluation without what no two runs have in common. */
function timeless({ created: _, command: __, points, ...others }: PolicyEvaluation): unknown {
  return { ...others, points: points.map(timelessPoint) };
}
function timelessPoint({ prefillMs: _, decodeMsPerToken: __, front: ___, cases, ...point }: EvaluatedPoint) {
  return { ...point, cases: cases.map(({ prefillMs: _, decodeMs: __, ...each }) => each) };
}

/** A case as the evaluation draws it. */
function drawn(number: number, task = TASK, tokens = LENGTH): DrawnCase {
  const params = contextTasks.parse(task);
  return drawCase(model.tokenizer!, contextTasks.get(task), params, { tokens, number, seed: 0 });
}
/** Options of a generation that answers a question of a case: context and question are its prompt, and the lead comes behind. */
const answerOptions = (each: DrawnCase, q = 0) => ({
  tokens: [...each.prompt.context, ...each.prompt.questions[q]!.request],
  lead: each.prompt.questions[q]!.lead,
  maxTokens: contextTasks.get(TASK).answerTokens(contextTasks.parse(TASK)),
  stop: ownStops(model, each.prompt.stop),
});
/** Losses of each token in a plain forward, by position and id, with everything in sight. */
function lossesOf(tokens: readonly number[]): number[][] {
  const result = forward(model, { tokens: [tokens] });
  const losses = tf.tidy(() => tf.neg(tf.logSoftmax(tf.squeeze(result.logits!, [0]))).arraySync()) as number[][];
  result.dispose();
  return losses;
}
/** Mean loss of a text behind another. */
function lossOf(before: readonly number[], scored: readonly number[]): number {
  const losses = lossesOf([...before, ...scored]);
  return scored.reduce((sum, id, i) => sum + losses[before.length - 1 + i]![id]!, 0) / scored.length;
}
/** Policies that need no file, each at a quarter; of those that may act at each new token both ways. */
const WITHOUT_FILES = policies
  .list()
  .filter(({ name, parameters }) => parameters.safeParse({}).success && !policies.flags(name).some(({ file }) => file))
  .flatMap(({ name }): PolicyRequest[] => {
    const decodes = policies.flags(name).some((flag) => flag.name === "when");
    return [{ name }, ...(decodes ? [{ name, params: { when: "decode" } }] : [])];
  });

describe("one read of a prompt for many policies", () => {
  leavesNoTensors();

  it("gives each policy what it gets alone, to the bit", async () => {
    const together = await evaluate(model, options({ cases: 1 }));
    expect(together.points.every(({ sharedPrefill }) => sharedPrefill)).toBe(true);
    for (const name of TOKEN_POLICIES) {
      const alone = await evaluate(model, options({ cases: 1, policies: [{ name }] }));
      const of = ({ points }: PolicyEvaluation) => points.filter(({ label }) => label === name).map(timelessPoint);
      expect(of(alone), name).toEqual(of(together));
    }
  });

  it("leaves each policy with the tokens and the answer of a generation under it", async () => {
    const { points } = await evaluate(model, options({ cases: 1 }));
    for (const { label, policies, cases } of points) {
      if (label === "keyformer") continue; // its noise is drawn for each part of a prompt, and the parts are others
      const { text, cache } = await generate(model, { policies, ...answerOptions(drawn(0)) });
      expect(cases[0]!.questions[0]!.text, label).toBe(text);
      expect([cases[0]!.bytes, cases[0]!.bytesFull], label).toEqual([cache.bytes, cache.bytesFull]);
    }
  });

  it("serves several budgets of a policy with what was seen once", async () => {
    const budgets = [0.5, 0.25, 100];
    const together = await evaluate(model, options({ budgets, cases: 1, policies: [{ name: "h2o" }] }));
    for (const budget of budgets) {
      const alone = await evaluate(model, options({ budgets: [budget], cases: 1, policies: [{ name: "h2o" }] }));
      const of = ({ points }: PolicyEvaluation) =>
        points.filter((point) => point.label === "h2o" && point.budget === budget).map(timelessPoint);
      expect(of(together)).toHaveLength(1);
      expect(of(alone)).toEqual(of(together));
    }
  });
});

describe("each policy that needs no file", () => {
  const SHORT = 400;
  const requests = WITHOUT_FILES.filter(({ name }) => name !== "keyformer");
  let points: readonly EvaluatedPoint[];
  beforeAll(async () => {
    const run = options({ cases: 1, budgets: [0.5], lengths: [SHORT], policies: requests });
    ({ points } = await evaluate(model, run));
  });
  leavesNoTensors();
  const nameOf = ({ label, policies }: EvaluatedPoint) => `${label} ${JSON.stringify(policies)}`;

  it("writes what a generation under it writes, and holds and reads as much", async () => {
    for (const point of points) {
      const { policies, cases } = point;
      const { text, cache, prefill } = await generate(model, { policies, ...answerOptions(drawn(0, TASK, SHORT)) });
      const [{ questions, bytes, bytesFull, read, prefillRead }] = cases as [EvaluatedCase];
      expect({ text: questions[0]!.text, bytes, bytesFull, read, prefillRead }, nameOf(point)).toEqual({
        ...{ text, bytes: cache.bytes, bytesFull: cache.bytesFull, read: cache.read, prefillRead: prefill?.read },
      });
    }
  });

  it("has the loss of the answer's tokens one after the other, the first of them too", async () => {
    const each = drawn(0, TASK, SHORT);
    const { scored } = each.prompt.questions[0]!;
    const { lead, ...rest } = answerOptions(each);
    const wayOf = ({ policies: [own] }: EvaluatedPoint) =>
      own && [policies.get(own.name).chooses, own.params["when"], policies.get(own.name).chooses === "reads" && own.name].join(" "); // biome-ignore format: one key
    const oneEach = new Map(points.map((point) => [wayOf(point), point]));
    for (const point of oneEach.values()) {
      const losses = [];
      for (const [i, id] of scored.entries()) {
        const known = [...lead, ...scored.slice(0, i)];
        const { logits } = await generate(model, { policies: point.policies, ...rest, lead: known, maxTokens: 1 });
        losses.push(tf.tidy(() => -tf.logSoftmax(tf.tensor1d(logits)).dataSync()[id]!));
      }
      const mean = losses.reduce((a, b) => a + b, 0) / losses.length;
      expect(point.cases[0]!.questions[0]!.loss, nameOf(point)).toBeCloseTo(mean, 4);
    }
  });

  it("foretells an answer by what it has left, not as full attention does", () => {
    const lossOf = ({ cases }: EvaluatedPoint) => cases[0]!.questions[0]!.loss;
    for (const point of points.slice(1)) expect(lossOf(point), nameOf(point)).not.toBe(lossOf(points[0]!));
  });
});

describe("full attention", () => {
  leavesNoTensors();

  it("answers each turn as a generation behind all that was said", async () => {
    const { points } = await evaluate(model, options({ policies: [], mode: "turns", cases: 1 }));
    const { prompt } = drawn(0);
    let tokens = [...prompt.context, ...prompt.questions[0]!.request];
    for (const [q, { text, loss }] of points[0]!.cases[0]!.questions.entries()) {
      const { lead, scored } = prompt.questions[q]!;
      const expected = await generate(model, { ...answerOptions(drawn(0)), tokens: [...tokens, ...lead], lead: [] });
      expect(text).toBe(expected.text);
      expect(loss).toBeCloseTo(lossOf([...tokens, ...lead], scored), 4);
      tokens = [...tokens, ...lead, ...expected.ids, ...(prompt.questions[q + 1]?.turn ?? [])];
    }
  });

  it("answers each request as a generation behind the context", async () => {
    const { points } = await evaluate(model, options({ policies: [], mode: "requests", cases: 1 }));
    for (const [q, { text, loss }] of points[0]!.cases[0]!.questions.entries()) {
      const { tokens, lead } = answerOptions(drawn(0), q);
      const before = [...tokens, ...lead];
      expect(text).toBe((await generate(model, { ...answerOptions(drawn(0)), tokens: before, lead: [] })).text);
      expect(loss).toBeCloseTo(lossOf(before, drawn(0).prompt.questions[q]!.scored), 4);
    }
  });

  it("has the loss of the first answer of each question, and the mean over cases with an interval", async () => {
    const { points } = await evaluate(model, options({ policies: [], cases: 3 }));
    const losses = points[0]!.cases.map(({ questions }) => questions[0]!.loss);
    const expected = [0, 1, 2].map((number) => {
      const { context, questions } = drawn(number).prompt;
      return lossOf([...context, ...questions[0]!.request, ...questions[0]!.lead], questions[0]!.scored);
    });
    losses.forEach((loss, i) => void expect(loss).toBeCloseTo(expected[i]!, 4)); // biome-ignore format: one line
    const { value, low, high } = points[0]!.loss;
    expect(value).toBeCloseTo(losses.reduce((a, b) => a + b, 0) / 3, 10);
    expect(low!).toBeGreaterThan(Math.min(...losses) - 1e-9);
    expect(high!).toBeLessThan(Math.max(...losses) + 1e-9);
    expect(low!).toBeLessThan(high!);
  });

  it("has the loss of a plain forward on a text that is scored", async () => {
    const task = "repeated-text";
    const { points } = await evaluate(model, options({ policies: [], tasks: [{ name: task }], lengths: [1024], cases: 1 })); // biome-ignore format: one call
    const { prompt } = drawn(0, task, 1024);
    const { request, scored } = prompt.questions[0]!;
    expect(points[0]!.loss.value).toBeCloseTo(lossOf([...prompt.context, ...request], scored), 4);
  });
});

describe("a model under interventions", () => {
  leavesNoTensors();
  const interventions: Intervention[] = [{ at: "blocks.1.attn.hook_z", heads: [0], do: "zero" }];
  const ways: PolicyRequest[] = [{ name: "snapkv" }, { name: "a-shape" }, { name: "h2o", params: { when: "decode" } }];

  it("is judged as generations under them write, full attention's too", async () => {
    const { points, settings } = await evaluate(model, options({ policies: ways, cases: 1, interventions }));
    expect(settings.interventions).toMatchObject(interventions);
    for (const { policies, cases, label } of points) {
      const { text } = await generate(model, { policies, interventions, ...answerOptions(drawn(0)) });
      expect(cases[0]!.questions[0]!.text, label).toBe(text);
    }
    const plain = await evaluate(model, options({ policies: [], cases: 1 }));
    expect(points[0]!.loss.value).not.toBe(plain.points[0]!.loss.value);
  });

  it("is not judged where prompts are read at other positions", async () => {
    await expect(evaluate(model, options({ policies: [{ name: "gemfilter" }], interventions }))).rejects.toMatchObject({
      kind: "usage",
    });
  });
});

describe("a context that was cut for the first question", () => {
  leavesNoTensors();

  it.each(["snapkv", "tova", "random", "gemfilter"])("is what is left for the others (%s)", async (name) => {
    const { points } = await evaluate(model, options({ policies: [{ name }], mode: "requests", cases: 1 }));
    const each = drawn(0);
    const point = points.find(({ label }) => label === name)!;
    const { cache } = await generate(model, { policies: point.policies, ...answerOptions(each) });
    const held = cache.kept!.flat();
    const decode = (ids: readonly number[]) => model.tokenizer!.decode(ids as number[]);
    for (const { needles } of point.cases[0]!.questions)
      for (const { text, kept } of needles) {
        const { context } = each.prompt;
        const end = context.findIndex((_, i) => decode(context.slice(0, i + 1)).includes(text)) + 1;
        let start = end;
        while (!decode(context.slice(start, end)).includes(text)) start--;
        const shares = held.map((own) => own.filter((p) => p >= start && p < end).length / (end - start));
        expect(kept).toBeCloseTo(shares.reduce((a, b) => a + b, 0) / shares.length, 10);
      }
  });
});

describe.each(["turns", "requests"] as const)("in mode %s", (mode) => {
  leavesNoTensors();

  it("every policy that needs no file goes on from its cut prompt, but those that see whole prompts", async () => {
    const whole = ["lazyllm", "think"];
    const all = policies
      .list()
      .filter(
        ({ name, parameters }) =>
          !whole.includes(name) && parameters.safeParse({}).success && !policies.flags(name).some(({ file }) => file),
      );
    for (const name of whole)
      await expect(evaluate(model, options({ policies: [{ name }], mode, cases: 1 }))).rejects.toMatchObject({
        kind: "usage",
        field: ["policies", "mode"],
      });
    const run = options({ policies: all.map(({ name }) => ({ name })), mode, cases: 1 });
    const { points } = await evaluate(model, run);
    for (const { label, cases, byQuestion } of points) {
      expect(cases[0]!.questions.length, label).toBe(3);
      expect(byQuestion, label).toHaveLength(3);
    }
  });
});

describe("a mask of heads, alone and with a policy for tokens", () => {
  const folder = mkdtempSync(join(tmpdir(), "headscope-evaluation-mask-"));
  const mask = join(folder, "mask.json");
  beforeAll(async () => {
    const heads = [{ layer: 1, head: 0 }];
    await writeMask(mask, maskFromKvHeads(headModel(model), heads, { sink: 4, recent: 60 }));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  leavesNoTensors();

  const WAYS = [{ prefill: "masked" }, { prefill: "dense" }, { when: "prefill" }];
  const listsOf = (way: object): PolicyRequest[][] => [
    [{ name: "duo-attention", params: { mask, ...way } }],
    [{ name: "duo-attention", params: { mask, ...way } }, { name: "snapkv" }],
  ];

  it.each(WAYS)("gives what a generation gives (%o)", async (way) => {
    const { points } = await evaluate(model, options({ policies: listsOf(way), cases: 1 }));
    for (const { label, policies, cases } of points.filter((point) => point.label.startsWith("duo"))) {
      const { text, cache } = await generate(model, { policies, ...answerOptions(drawn(0)) });
      expect(cases[0]!.questions[0]!.text, label).toBe(text);
      expect(cases[0]!.bytes, label).toBe(cache.bytes);
    }
  });

  it.each(WAYS)("goes on in turns and requests (%o)", async (way) => {
    for (const mode of ["turns", "requests"] as const) {
      const { points } = await evaluate(model, options({ policies: listsOf(way), cases: 1, mode }));
      for (const { label, byQuestion, cases } of points) {
        expect(byQuestion, label).toHaveLength(3);
        if (label !== "full") expect(cases[0]!.bytes, label).toBeLessThan(cases[0]!.bytesFull);
      }
    }
  });
});

describe("an evaluation that was stopped", () => {
  const folder = mkdtempSync(join(tmpdir(), "headscope-evaluation-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const run = (out: string, changes: Partial<EvaluateOptions> = {}) =>
    evaluate(model, options({ policies: [{ name: "snapkv" }, { name: "knorm" }], out: join(folder, out), ...changes }));
  const journal = (out: string) => readFileSync(join(folder, out, "journal.jsonl"), "utf8");

  async function stopped(out: string, after: number): Promise<void> {
    const stop = new AbortController();
    const progress = (done: number) => void (done === after && stop.abort(new Error("stopped")));
    await expect(run(out, { signal: stop.signal, progress })).rejects.toThrow("stopped");
  }

  it("goes on where it stood and ends as if it had not been", async () => {
    const whole = await run("whole");
    await stopped("parts", 3);
    const before = journal("parts");
    expect(before.trim().split("\n").length).toBeLessThan(journal("whole").trim().split("\n").length);
    writeFileSync(join(folder, "parts", "journal.jsonl"), `${before}{"point":3,"ta`); // as a process that died leaves it
    const again = await run("parts");
    expect(timeless(again)).toEqual(timeless(whole));
    expect(journal("parts").startsWith(before)).toBe(true);
    const results = JSON.parse(readFileSync(join(folder, "parts", "results.json"), "utf8"));
    expect(results).toEqual(JSON.parse(JSON.stringify(again)));
  });

  it("is not gone on with where another version has written it", async () => {
    await stopped("old", 1);
    const path = join(folder, "old", "journal.jsonl");
    writeFileSync(path, journal("old").replace(/journal\/\d+/, "journal/1"));
    const error = await run("old").catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: "mismatch" });
    expect((error as Error).message).toContain("by another version of headscope");
  });

  it("is not mixed with one under interventions", async () => {
    await stopped("changed", 1);
    const interventions: Intervention[] = [{ at: "blocks.1.attn.hook_z", heads: [0], do: "zero" }];
    const error = await run("changed", { interventions }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: "mismatch" });
    expect((error as Error).message).toContain("with interventions [], not [{");
  });

  it("is not mixed with one of other settings", async () => {
    await stopped("other", 1);
    const error = await run("other", { seed: 1 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ kind: "mismatch" });
    expect((error as Error).message).toContain("with seed 0, not 1");
  });
});
