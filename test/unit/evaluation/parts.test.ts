import { describe, expect, it } from "vitest";
import { policyEvaluation } from "../../../backend/common/api/evaluations.ts";
import { scoreInterval, withFronts } from "../../../backend/evaluation/aggregate.ts";
import { evaluateCommand } from "../../../backend/evaluation/files/command.ts";
import { evaluationCsv } from "../../../backend/evaluation/files/csv.ts";
import { evaluationReport } from "../../../backend/evaluation/files/report.ts";
import { placeNeedles } from "../../../backend/evaluation/needles.ts";
import { atBudget } from "../../../backend/inference/policies/budget.ts";
import { policies } from "../../../backend/inference/policies/index.ts";
import { evaluatedPoint, policyEvaluationOf } from "../../helpers/formats/evaluations.ts";
import { smallTokenizer } from "../../helpers/texts/talking-model.ts";

describe("a budget", () => {
  const at = (name: string, budget: number, given = {}) => atBudget(policies.get(name), given, budget);

  it("is the share that goes, or the tokens that stay", () => {
    expect(at("snapkv", 0.1)).toEqual({ ratio: 0.9 });
    expect(at("snapkv", 256)).toEqual({ budget: 256 });
  });

  it("is not followed where a ratio or a budget is given", () => {
    expect(at("snapkv", 0.1, { ratio: 0.5 })).toBeUndefined();
    expect(at("snapkv", 0.1, { budget: 64 })).toBeUndefined();
  });

  it("of heads is the share that keeps everything, where gates say which", () => {
    expect(at("duo-attention", 0.25, { gates: "gates.json" })).toEqual({ ratio: 0.75 });
    for (const given of [{ mask: "mask.json" }, { gates: "gates.json", threshold: 0.5 }])
      expect(at("duo-attention", 0.25, given)).toBeUndefined();
  });
});

describe("needles", () => {
  const tokenizer = smallTokenizer();

  it("are the fewest tokens that spell them", () => {
    const needle = "The magic number of the apple is 4711.";
    const ids = tokenizer.encode(`Some words before it. ${needle} Some words behind it.`, { prependBos: false });
    const [found] = placeNeedles(tokenizer, ids, [{ text: needle, depth: 0.4 }]);
    const { positions } = found!;
    const text = (places: readonly number[]) => tokenizer.decode(places.map((place) => ids[place]!));
    expect(text(positions)).toContain(needle);
    for (const fewer of [positions.slice(1), positions.slice(0, -1)]) expect(text(fewer)).not.toContain(needle);
  });

  it("that stand twice are those of their depth", () => {
    const ids = tokenizer.encode("A cat. A dog. A cow. A dog. A hen.", { prependBos: false });
    const firsts = [0.2, 0.7].map(
      (depth) => placeNeedles(tokenizer, ids, [{ text: "A dog.", depth }])[0]!.positions[0]!,
    );
    expect(tokenizer.decode(ids.slice(0, firsts[0])).trimEnd()).toBe("A cat.");
    expect(tokenizer.decode(ids.slice(0, firsts[1])).trimEnd()).toBe("A cat. A dog. A cow.");
  });

  it("that the tokens don't spell are left out", () => {
    expect(placeNeedles(tokenizer, [1, 2, 3], [{ text: "nowhere to be found", depth: 0.5 }])).toEqual([]);
  });
});

describe("the interval of a mean score", () => {
  it("is Wilson's where every case is right or wrong", () => {
    // (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = 8/10, z = 1.959964
    const { value, low, high } = scoreInterval([1, 1, 1, 1, 1, 1, 1, 1, 0, 0]);
    expect([value, low, high].map((x) => x!.toFixed(4))).toEqual(["0.8000", "0.4902", "0.9433"]);
  });

  it("lies among the scores where they are shares, and one of them has none", () => {
    const { value, low, high } = scoreInterval([0.25, 0.5, 0.75, 0.5]);
    expect(value).toBe(0.5);
    expect(low!).toBeGreaterThanOrEqual(0.25);
    expect(high!).toBeLessThanOrEqual(0.75);
    expect(low!).toBeLessThan(high!);
    expect(scoreInterval([0.5])).toEqual({ value: 0.5, low: null, high: null });
  });
});

describe("points", () => {
  it("stand on the front of their own task and length alone", () => {
    const points = [
      evaluatedPoint({ label: "good", score: 1, bytes: 100 }),
      evaluatedPoint({ label: "cheap", score: 0.5, bytes: 20 }),
      evaluatedPoint({ label: "worse", score: 0.5, bytes: 30 }),
      evaluatedPoint({ label: "elsewhere", score: 0, bytes: 90, length: 1024 }),
    ];
    const byBytes = withFronts(points).filter(({ front }) => front.includes("bytes"));
    expect(byBytes.map(({ label }) => label)).toEqual(["good", "cheap", "elsewhere"]);
  });
});

describe("an evaluation as a file", () => {
  const evil = '<script>alert("x")</script>';
  const point = evaluatedPoint({
    label: "knorm",
    budget: 0.25,
    policies: [{ name: "knorm", params: { ratio: 0.75 } }],
  });
  const [first] = point.cases;
  const cases = [{ ...first!, questions: [{ ...first!.questions[0]!, text: evil }] }];
  const evaluation = policyEvaluationOf([evaluatedPoint(), { ...point, cases }]);

  it("fits its schema", () => {
    expect(policyEvaluation.parse(evaluation)).toEqual(evaluation);
  });

  it("as a page shows every point and answer, and fetches and runs nothing", () => {
    const page = evaluationReport(evaluation);
    expect(page).not.toContain("<script");
    expect(page).not.toMatch(/(src|href)="(?!data:)/);
    expect(page).toContain("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;");
    expect(page.match(/<summary>/g)).toHaveLength(2);
    expect(page.match(/data:image\/svg/g)).toHaveLength(4);
  });

  it("as CSV has a line a point", () => {
    const [head, ...lines] = evaluationCsv(evaluation).trim().split("\n");
    const of = (name: string) => lines.map((line) => line.split(",")[head!.split(",").indexOf(name)]);
    expect(of("policy")).toEqual(["full", "knorm"]);
    expect(of("parameters")).toEqual(["", "knorm ratio=0.75"]);
    expect(of("budget")).toEqual(["", "0.25"]);
    expect(of("loss")).toEqual(["0.5", "0.5"]);
    expect(of("loss_low")).toEqual(["0.25", "0.25"]);
  });

  it("names the command that makes it again", () => {
    expect(evaluateCommand("m", evaluation.settings, "out")).toBe(
      "npx headscope evaluate --model m --policy knorm --budget 0.25 --tasks multi-key --lengths 512 --cases 1 --mode single --seed 0 --param multi-key.keys=8 --out out",
    );
  });
});
