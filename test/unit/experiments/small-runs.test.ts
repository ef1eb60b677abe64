import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStore, type Store } from "../../../backend/store/store.ts";
import type { Experiment } from "../../../experiments/base.ts";
import { experimentParameters, experiments, runExperiment } from "../../../experiments/index.ts";
import { type ToyParams, toyClaims, toyFinding, toyStages } from "../../../experiments/meaning/fragment-toys.ts";
import { buildCli } from "../../helpers/cli.ts";

const SMALL = { seeds: [0, 1], steps: 100, n_layers: 1, d_model: 8, batch: 8, rows: 32 };
/** Each experiment's own sizes, and how many figures it has. */
const RUNS = [
  ["bayesian-prism", { ...SMALL, n_heads: 1, examples: 6, contexts: 8 }, 7],
  ["forgetting", { ...SMALL, n_heads: 1, examples: 6, tuning_steps: 20 }, 2],
  ["promot", { ...SMALL, n_heads: 1, examples: 6, tuning_steps: 20, prompt_steps: 20, vectors: 2 }, 3],
  [
    "attention-variants",
    { ...SMALL, n_heads: 2, dimension: 2, examples: 4, shares: [2], powers: [2], rows: 64 },
    3,
  ],
  ["prune-or-not", { seeds: [0, 1], steps: 100, n_layers: 1, batch: 8, context: 8, large: 16, small: [8, 4] }, 2],
  ["uncertainty", { ...SMALL, n_heads: 1, examples: 6, shown: 4 }, 5],
  ["bayesian-averaging", { ...SMALL, context: 16, concepts: 2, vocabulary: 4, states: 2, checkpoints: 3 }, 2],
  [
    "cognitive-maps",
    { seeds: [0, 1], steps: 100, n_heads: 1, d_model: 8, batch: 8, moves: 8, codes: 8, walks: 32, problems: 16, fresh_steps: 20 },
    2,
  ],
  [
    "learning-algorithm",
    { seeds: [0, 1], steps: 100, dimension: 2, examples: 4, depths: [1, 2], d_model: 8, widths: [4, 8], batch: 8, rows: 32 },
    6,
  ],
  [
    "attention-sink-emergence",
    { corpus: "characters", seeds: [0], steps: 20, points: 5, batch: 4, context: 16, n_layers: 1, n_heads: 1, d_model: 8, evaluation_rows: 16 },
    3,
  ],
] as const; // biome-ignore format: sizes a line

describe("a very small run of", () => {
  let folder: string;
  let store: Store;
  const before = process.env["HEADSCOPE_HOME"];

  beforeAll(async () => {
    await buildCli();
    folder = await mkdtemp(join(tmpdir(), "families-"));
    process.env["HEADSCOPE_HOME"] = folder;
    store = openStore({ folder });
  });
  afterAll(async () => {
    store.close();
    if (before === undefined) delete process.env["HEADSCOPE_HOME"];
    else process.env["HEADSCOPE_HOME"] = before;
    await rm(folder, { recursive: true });
  });

  /** Files of what was measured; an experiment that only trains has none. */
  const measurements = async () => {
    const path = join(folder, "measurements");
    return existsSync(path) ? await readdir(path) : [];
  };

  test.each(RUNS)("%s trains, measures and judges; again, it measures nothing", async (name, changes, figures) => {
    const params = experimentParameters(experiments, name, "quick", { ...changes });
    const run = () => runExperiment(experiments.get(name), { store, preset: "quick", params, command: "" });
    const { report } = await run();
    expect(report.claims.map(({ verdict }) => verdict)).toEqual(report.claims.map(() => "too few seeds to tell"));
    expect(report.figures).toHaveLength(figures);
    expect(report.experiment.trials).toBe(experiments.get(name).trials);
    for (const figure of report.figures)
      if (figure.kind === "lines")
        for (const { y } of figure.lines)
          expect(y.every((value) => value !== null && Number.isFinite(value))).toBe(true);
    const kept = await measurements();
    const again = await run();
    expect(again.report.claims).toEqual(report.claims);
    expect(await measurements()).toEqual(kept);
  });

  test("the toys of semantic-fragments trains each toy and fine-tunes it twice; again, it trains nothing", async () => {
    const changes = { seeds: [0, 1], steps: 100, tuning_steps: 20, n_layers: 1, n_heads: 1, d_model: 8, batch: 8, evaluation_rows: 30 }; // biome-ignore format: one line
    const params = experimentParameters(experiments, "semantic-fragments", "quick", { ...changes });
    const experiment: Experiment = {
      ...experiments.get("semantic-fragments"),
      claims: toyClaims,
      stages: (all) => toyStages(all as ToyParams),
      run: (all, context) => toyFinding(all as ToyParams, context),
    };
    const run = () => runExperiment(experiment, { store, preset: "quick", params, command: "" });
    const { report } = await run();
    expect(report.runs).toHaveLength(6);
    expect(report.claims.map(({ verdict }) => verdict)).toEqual(report.claims.map(() => "too few seeds to tell"));
    expect(report.figures.map(({ name }) => name)).toEqual(["toys-tuning", "toys"]);
    // A fine-tuning begins with the very model that the first training ends with.
    const last = (id: string, name: string) => store.metrics(id).get(name)!.at(-1)!.value;
    for (const [first, ...tuned] of [[0, 2, 3], [1, 4, 5]].map((places) => places.map((place) => report.runs[place]!))) // biome-ignore format: one line
      for (const id of tuned)
        expect(store.metrics(id).get("plain.loss")![0]!.value).toBeCloseTo(last(first!, "plain.loss"), 5);
    const before = store.runs().length;
    expect((await run()).report.claims).toEqual(report.claims);
    expect(store.runs()).toHaveLength(before);
    const full = await runExperiment(experiment, { store, preset: "quick", params: { ...params, seeds: [0, 1, 2, 3] }, command: "" }); // biome-ignore format: one line
    expect(full.report.claims[0]).toMatchObject({ verdict: "not trained to the end", why: expect.stringContaining("100 of 2,000 steps") }); // biome-ignore format: one line
  });

  test("uncertainty is refused before it trains where no pair is left behind those of training", async () => {
    const params = experimentParameters(experiments, "uncertainty", "quick", {
      ...SMALL,
      examples: 6,
      shown: 6,
      steps: 101,
    });
    const before = store.runs().length;
    await expect(
      runExperiment(experiments.get("uncertainty"), { store, preset: "quick", params, command: "" }),
    ).rejects.toMatchObject({ kind: "usage", field: ["shown", "examples"] });
    expect(store.runs()).toHaveLength(before);
  });
});
