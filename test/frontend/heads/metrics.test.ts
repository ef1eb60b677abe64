import { describe, expect, it } from "vitest";
import type { AblateResult } from "../../../backend/common/api/interventions.ts";
import type { RunCurves } from "../../../backend/common/api/runs.ts";
import type { HeadScores } from "../../../backend/common/heads/scores.ts";
import { readRun } from "../../../backend/common/run-reference.ts";
import { parseHeads } from "../../../backend/heads/refs.ts";
import { ablationEffect } from "../../../frontend/src/components/head-card/effect.ts";
import { maskEffect } from "../../../frontend/src/components/head-card/maskEffect.ts";
import {
  ablateCommand,
  finderCommand,
  headsOption,
  metricCommand,
} from "../../../frontend/src/components/head-metrics/commands.ts";
import {
  chosenAgainst,
  chosenMetric,
  documentMetrics,
  historyOf,
  leadingMetric,
  perQueryHead,
  readMetricName,
  trainingMetrics,
  writeMetricName,
} from "../../../frontend/src/components/head-metrics/metrics.ts";

const SHAPE = { layers: 2, heads: 4, kvHeads: 2 };
const QUERY = [
  [0.1, 0.9, 0.3, 0.2],
  [0.5, 0.8, 0.4, 0],
];

function scores(id: string, probe: string, some: Partial<HeadScores> = {}): HeadScores & { id: string } {
  return {
    id,
    format: "headscope.head-scores/1",
    model: { ref: "toy", ...SHAPE },
    probe,
    params: {},
    headscope: "0.1.0",
    summary: {},
    metrics: { [probe]: { axis: "heads", values: QUERY } },
    ...some,
  };
}

describe("metrics of score documents", () => {
  it("names each metric by its probe, and twins by the parameters that differ", () => {
    const metrics = documentMetrics([
      scores("scores/a.json", "induction", { params: { length: 50, samples: 4 } }),
      scores("scores/b.json", "induction", { params: { length: 100, samples: 4 } }),
      scores("scores/c.json", "sink", {
        metrics: {
          sink: { axis: "heads", values: QUERY },
          importance: {
            axis: "kvHeads",
            values: [
              [1, 2],
              [3, 4],
            ],
          },
        },
      }),
    ]);
    expect(metrics.map(({ label }) => label)).toEqual([
      "induction (length 50)",
      "induction (length 100)",
      "sink",
      "sink: importance",
    ]);
    expect(new Set(metrics.map(({ id }) => id)).size).toBe(4);
  });

  it("names twins of the same parameters by their files", () => {
    const metrics = documentMetrics([scores("a.json", "induction"), scores("b.json", "induction")]);
    expect(metrics.map(({ label }) => label)).toEqual(["induction (a.json)", "induction (b.json)"]);
  });

  it("begins with induction, and shows another probe against it", () => {
    const metrics = documentMetrics([scores("a.json", "sink"), scores("b.json", "induction")]);
    expect(chosenMetric(metrics, "")?.probe).toBe("induction");
    expect(chosenMetric(metrics, "a.json#sink")?.probe).toBe("sink");
    expect(chosenMetric(metrics, "gone.json#x")?.probe).toBe("induction");
    expect(chosenMetric([], "")).toBeUndefined();
    expect(chosenAgainst(metrics, metrics[1]!, "")?.probe).toBe("sink");
  });

  it("shows no metric against itself, also where the address asks for that", () => {
    const [sink, induction] = documentMetrics([scores("a.json", "sink"), scores("b.json", "induction")]);
    expect(chosenAgainst([sink!], sink!, "")).toBeUndefined();
    expect(chosenAgainst([sink!], sink!, sink!.id)).toBeUndefined();
    expect(chosenAgainst([sink!, induction!], sink!, sink!.id)).toBe(induction);
  });

  const sinks = { probe: "sink", name: "importance" };
  const both = { sink: { axis: "heads", values: QUERY }, importance: { axis: "heads", values: QUERY } } as const;

  it("can be named before they are measured, and are then the newest measurement", () => {
    expect(readMetricName(writeMetricName(sinks))).toEqual(sinks);
    expect(readMetricName(writeMetricName({ probe: "sink", name: "sink" }))).toEqual({ probe: "sink", name: "sink" });
    expect(readMetricName("start/a.json#sink")).toBeUndefined();
    const metrics = (ids: string[]) =>
      documentMetrics([scores("i.json", "induction"), ...ids.map((id) => scores(id, "sink", { metrics: both }))]);
    expect(chosenMetric(metrics([]), writeMetricName(sinks))?.probe).toBe("induction");
    expect(chosenMetric(metrics(["a.json", "b.json"]), writeMetricName(sinks))?.id).toBe("b.json#importance");
  });

  it("of new documents are shown by what was asked, else by the first probe's own", () => {
    const made = [scores("i.json", "induction"), scores("s.json", "sink", { metrics: both })];
    expect(leadingMetric(made, sinks)).toBe("s.json#importance");
    expect(leadingMetric(made, undefined)).toBe("i.json#induction");
    expect(leadingMetric(made.slice(1), { probe: "induction", name: "induction" })).toBe("s.json#sink");
    expect(leadingMetric([], sinks)).toBeUndefined();
  });

  it("gives every query head the score of the KV head that it reads", () => {
    const metric = { ...documentMetrics([scores("a.json", "sink")])[0]!, axis: "kvHeads" as const };
    const values = [
      [0.1, 0.9],
      [0.5, 0.2],
    ];
    expect(perQueryHead({ ...metric, values }, SHAPE)).toEqual([
      [0.1, 0.1, 0.9, 0.9],
      [0.5, 0.5, 0.2, 0.2],
    ]);
  });
});

describe("metrics measured along training", () => {
  const curves: RunCurves = {
    loss: [[0, 4]],
    "induction.induction[0.0]": [
      [0, 0.1],
      [10, 0.2],
      [20, null],
    ],
    "induction.induction[1.3]": [
      [0, 0.3],
      [10, 0.9],
    ],
    "duo.alpha[0.1]": [[10, 0.7]],
  };

  it("are those of the last measurement at or before the step, NaN where there is none", () => {
    const at = (step: number) => trainingMetrics(curves, SHAPE, step)[0]!.values;
    expect(at(15)[0]![0]).toBe(0.2);
    expect(at(15)[1]![3]).toBe(0.9);
    expect(at(-1)[1]![3]).toBeNaN();
    expect(at(20)[0]![0]).toBeNaN();
    expect(at(15)[1]![0]).toBeNaN();
  });

  it("have the chance that the run tells of, as scores have it", () => {
    const even = { "induction.induction": 0.0133 };
    expect(trainingMetrics(curves, SHAPE, 10, even).map(({ chance }) => chance)).toEqual([0.0133, undefined]);
  });

  it("know whether they are of query heads or KV heads, and leave other curves alone", () => {
    expect(trainingMetrics(curves, SHAPE, 10).map(({ id, axis }) => [id, axis])).toEqual([
      ["training#induction.induction", "heads"],
      ["training#duo.alpha", "kvHeads"],
    ]);
  });

  it("give a head its lines, also of the KV head that it reads", () => {
    expect(historyOf(curves, "1.3", SHAPE)).toEqual([{ measure: "induction", steps: [0, 10], values: [0.3, 0.9] }]);
    expect(historyOf(curves, "0.3", SHAPE)).toEqual([{ measure: "duo.alpha", steps: [10], values: [0.7] }]);
  });

  it("belong to the run that a model's name holds", () => {
    expect(readRun("run:induction-1@534")).toEqual({ id: "induction-1", step: 534 });
    expect(readRun("run:induction-1")).toEqual({ id: "induction-1" });
    expect(readRun("smollm2-135m")).toBeUndefined();
  });
});

describe("the command behind a card", () => {
  const document = scores("start/induction.json", "induction", { params: { length: 50, depths: [0.1, 0.5] }, seed: 3 });
  const [metric] = documentMetrics([document]);

  it("measures the probe with the same parameters and seed", () => {
    expect(metricCommand(metric!, "smollm2-135m", undefined)).toBe(
      "npx headscope probe induction --model smollm2-135m --param length=50 --param depths=0.1,0.5 --seed 3",
    );
  });

  it("names the top N by the score file, and the command line reads the same heads from it", async () => {
    const option = headsOption(["0.1", "1.1"], metric, 2);
    expect(option).toBe("top:2@.headscope/start/induction.json#induction");
    const read = await parseHeads(option, { layers: 2, heads: 4 }, () => Promise.resolve(document));
    expect(read).toEqual([
      { layer: 0, head: 1 },
      { layer: 1, head: 1 },
    ]);
    expect(headsOption(["0.0", "1.1"], metric, 0)).toBe("0.0,1.1");
  });

  it("ablates on the user's text with the same BOS, or on the user's token ids", () => {
    expect(ablateCommand("m", { model: "m", text: "It's here", bos: false }, "1.1")).toBe(
      `npx headscope ablate --model m --text 'It'\\''s here' --no-prepend-bos --heads 1.1`,
    );
    expect(ablateCommand("run:a", { model: "run:a", tokens: [0, 5] }, "1.1")).toBe(
      "echo '[[0,5]]' > tokens.json && npx headscope ablate --model run:a --tokens-file tokens.json --heads 1.1",
    );
  });

  it("makes a mask of the top KV heads", () => {
    const kv = { ...metric!, axis: "kvHeads" as const };
    const rest = { model: "m", run: undefined, request: undefined };
    expect(finderCommand(kv, { ...rest, top: 2 })).toBe(
      "npx headscope mask --scores .headscope/start/induction.json --metric induction --top 2 --out mask.json",
    );
    expect(finderCommand(kv, { ...rest, top: 0 })).toMatch(/^npx headscope probe induction /);
  });
});

describe("what a head card says", () => {
  it("gives the change of the loss, that of the controls, and the tokens hurt most", () => {
    const row = (...losses: number[]) => [losses];
    const result: AblateResult = {
      model: { ref: "toy", digest: "sha256:0" },
      heads: ["1.1"],
      method: "zero",
      clean: { loss: 2, nll: row(1, 2, 3) },
      ablated: { loss: 2.5, nll: row(1, 3.2, 3.3) },
      control: { mean: 2.1, range: [1.9, 2.2], draws: [{ heads: ["1.0"], loss: 2.1, nll: row(1, 2, 3.3) }] },
      nextToken: [],
      ms: 1,
    };
    const effect = ablationEffect(result, ["a", "b", "c", "d"]);
    expect(effect.change).toBeCloseTo(0.5);
    expect(effect.verdict).toBe("worse");
    expect(effect.control?.mean).toBeCloseTo(0.1);
    expect(effect.control?.range[0]).toBeCloseTo(-0.1);
    expect(effect.hurt.map(({ token }) => token)).toEqual(["c", "d"]);
  });

  it("says what a mask keeps of it", () => {
    const mask = {
      format: "headscope.head-mask/1" as const,
      model: { ref: "toy", ...SHAPE },
      kvHeads: [
        ["retrieval" as const, "streaming" as const],
        ["streaming" as const, "streaming" as const],
      ],
      heads: [["ablate" as const, "keep" as const, "keep" as const, "keep" as const]],
      sink: 4,
      recent: 16,
      source: "user",
    };
    const kind = (layer: number, head: number) => maskEffect(mask, { layer, head }, SHAPE).kind;
    expect([kind(0, 0), kind(0, 1), kind(0, 2), kind(1, 1)]).toEqual(["ablated", "full", "streaming", "streaming"]);
    expect(maskEffect(mask, { layer: 0, head: 2 }, SHAPE).words).toContain("first 4 and the latest 16");
  });
});
