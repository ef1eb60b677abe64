import { describe, expect, it } from "vitest";
import { experimentParameters, experiments, runExperiment } from "../../../../experiments/index.ts";
import { chosenSequences } from "../../../../experiments/supportive/sequences.ts";
import { judge, type SupportiveSeed } from "../../../../experiments/supportive/supportive-data.ts";
import { ownStore } from "../../../helpers/training/own-store.ts";

const ALL = { cosine: 0, loss: 2, rare: 0.2, copies: 0.2 };
const TOP = { cosine: 0.5, loss: 2.5, rare: 0.3, copies: 0.3 };

function seed(after: Partial<SupportiveSeed["after"]> = {}, top = TOP): SupportiveSeed {
  const accuracies = { top: 0.8, bottom: 0.6, random: 0.7, ...after };
  return { before: 0.5, after: accuracies, means: { all: ALL, random: ALL, bottom: ALL, top } };
}
const verdicts = (one: SupportiveSeed) =>
  Object.fromEntries(judge([one, one, one, one], 0.02).map(({ id, verdict }) => [id, verdict]));

describe("the claims of supportive-data", () => {
  it("are borne out where the top share helps more than a random one, and that more than the bottom", () => {
    expect(new Set(Object.values(verdicts(seed())))).toEqual(new Set(["reproduced"]));
  });

  it.each([
    ["top-helps", seed({ top: 0.72 })],
    ["bottom-does-not", seed({ bottom: 0.69 })],
    ["top-over-bottom", seed({ bottom: 0.79 })],
    ["long-tail", seed({}, { ...TOP, rare: 0.21 })],
    ["harder", seed({}, { ...TOP, loss: 1.9 })],
    ["more-copies", seed({}, { ...TOP, copies: 0.21 })],
  ])("%s is refuted where its margin is missed", (id, one) => {
    expect(verdicts(one)[id]).toBe("not reproduced");
  });
});

it("sequences are chosen by their cosines, or by chance", () => {
  const cosine = [0.3, -0.2, 0.9, 0.1, -0.7];
  expect(chosenSequences("top", { cosine }, 2, 0)).toEqual([0, 2]);
  expect(chosenSequences("bottom", { cosine }, 2, 0)).toEqual([1, 4]);
  const random = chosenSequences("random", { cosine }, 3, 0);
  expect(new Set(random).size).toBe(3);
  expect(chosenSequences("random", { cosine: [...cosine].reverse() }, 3, 0)).toEqual(random);
});

describe("a very small run", () => {
  const lab = ownStore();

  it("goes on with the chosen sequences alone, and finds everything again", async () => {
    const sizes = { seeds: [0, 1], steps: 20, tuning_steps: 10, sequences: 64, context: 8, d_model: 8, batch: 8, evaluation_rows: 64 };
    const params = experimentParameters(experiments, "supportive-data", "quick", sizes);
    const run = () => runExperiment(experiments.get("supportive-data"), { store: lab.store, preset: "quick", params, command: "" });
    const { report } = await run();
    expect(report.claims.map(({ verdict }) => verdict)).toEqual(report.claims.map(() => "too few seeds to tell"));
    const continued = lab.store.runs().filter(({ spec }) => spec.training.from !== undefined);
    expect(continued).toHaveLength(6);
    for (const { spec } of continued) expect(spec.params["chosen"]).toHaveLength(6);
    const again = await run();
    expect(again.report.claims).toEqual(report.claims);
    expect(lab.store.runs()).toHaveLength(8);
  });
}); // biome-ignore format: long lines of one call
