import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import type { RetrievalCase } from "../../probes/base.ts";
import { haystack, probe, probeMany } from "../../probes/index.ts";
import { havePulled, onSmolLm2, oracle, worst } from "../helpers/pulled.ts";

type Metrics = Record<string, { values: number[][]; trials?: number[][][] }>;
interface Probes {
  repeated: { rows: number[][]; length: number; metrics: Metrics };
  sink: { rows: number[][]; tokens: number; epsilon: number; metrics: Metrics };
}
interface Retrieval {
  cases: RetrievalCase[];
  perCase: { generated: number[]; scores: number[][] }[];
  mean: number[][];
}

describe.skipIf(!havePulled)(onSmolLm2("probes on SmolLM2"), () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel("smollm2-135m");
  });
  afterAll(() => model?.dispose());

  it("give the scores of transformers on repeated tokens", async () => {
    const { rows, length, metrics } = oracle<Probes>("probes").repeated;
    const documents = await probeMany(
      model,
      Object.keys(metrics).map((name) => ({ name, params: { length } })),
      { tokens: rows },
    );
    for (const { probe: name, metrics: found } of documents) {
      expect(worst(found[name]!.values, metrics[name]!.values), name).toBeLessThan(1e-4);
      expect(worst(found[name]!.trials, metrics[name]!.trials), name).toBeLessThan(1e-4);
    }
  });

  it("give the sinks of transformers", async () => {
    const { rows, tokens, epsilon, metrics } = oracle<Probes>("probes").sink;
    const { metrics: found } = await probe(model, "attention-sink", { tokens, epsilon }, { tokens: rows });
    expect(worst(found["importance"]!.trials, metrics["importance"]!.trials)).toBeLessThan(1e-4);
    expect(worst(found["attention-sink"]!.values, metrics["attention-sink"]!.values)).toBeLessThan(1e-4);
  });

  it("give the retrieval heads and the answers of transformers", async () => {
    const { cases, perCase, mean } = oracle<Retrieval>("retrieval");
    const found = await probe(model, "retrieval", {}, { cases });
    const answers = found["perCase"] as Retrieval["perCase"];
    expect(answers.map(({ generated }) => generated)).toEqual(perCase.map(({ generated }) => generated));
    for (const [i, { scores }] of perCase.entries())
      expect(worst(answers[i]!.scores, scores), `case ${i}`).toBeLessThan(1e-4);
    expect(worst(found.metrics["retrieval"]!.values, mean)).toBeLessThan(1e-4);
  });

  it("find the answer in a haystack of their own", async () => {
    const made = haystack(model.tokenizer!, { tokens: 200, depth: 0.3, seed: 1 });
    expect(made.ids).toHaveLength(200);
    expect(model.tokenizer!.decode(made.ids.slice(...made.needleSpan)).trim()).toBe(made.needle);
    const { summary } = await probe(model, "retrieval", { lengths: [200], depths: [0.3], needles: 2 });
    expect(summary["answered"]).toBe(2);
    expect(summary["max"]).toBeGreaterThan(0.1);
  });
});
