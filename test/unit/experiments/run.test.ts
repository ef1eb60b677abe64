import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { settingText } from "../../../backend/common/words.ts";
import { openStore, type Store } from "../../../backend/store/store.ts";
import { labelAttention } from "../../../experiments/emergence/label-attention.ts";
import {
  experimentParameters,
  experiments,
  findReport,
  keptReports,
  runExperiment,
} from "../../../experiments/index.ts";
import { buildCli } from "../../helpers/cli.ts";

describe("every experiment", () => {
  test.each(experiments.list())(
    "$name has claims with checks, says what was tried, and has presets that its schema takes",
    ({ name, claims, trials, extent = "steps" }) => {
      expect(new Set(claims.map(({ id }) => id)).size).toBe(claims.length);
      for (const { statement, source, check } of claims) expect([statement, source, check]).not.toContain("");
      expect(trials).toMatch(/[.]$/);
      const quick = experimentParameters(experiments, name, "quick");
      const full = experimentParameters(experiments, name, "full");
      expect(Number(full[extent])).toBeGreaterThan(Number(quick[extent]));
      expect(Object.keys(full)).toEqual(Object.keys(quick));
    },
  );

  test("takes what is given before the preset's, and that before the default", () => {
    const given = experimentParameters(experiments, "induction-emergence", "full", { steps: "200", seeds: "3,4" });
    expect(given).toMatchObject({ steps: 200, seeds: [3, 4], d_model: 128, n_heads: 4 });
    expect(() => experimentParameters(experiments, "induction", "quick")).toThrow(
      expect.objectContaining({ kind: "usage", subject: "induction" }),
    );
    expect(() => experimentParameters(experiments, "abrupt-learning", "quick", { k: 1 })).toThrow(
      expect.objectContaining({ kind: "usage", field: "k" }),
    );
    const values = (raw: object) => () => experimentParameters(experiments, "abrupt-learning", "quick", { ...raw });
    expect(values({ alpha_values: "0.5,1" })).toThrow(
      expect.objectContaining({ remedy: "0 and 1 must be among them" }),
    );
    expect(values({ seeds: "1,1" })).toThrow(expect.objectContaining({ remedy: "give each seed once" }));
  });
});

test("attention to items and labels is read from the right places of a pattern", () => {
  // Two pairs and a query: item 0, label 1, item 2, label 3, query 4. Two heads; the query is of the second pair's class.
  const pattern = new Float32Array(2 * 5 * 5);
  const set = (head: number, query: number, key: number, value: number) => {
    pattern[(head * 5 + query) * 5 + key] = value;
  };
  set(0, 1, 0, 0.5); // label 1 to its item
  set(0, 3, 2, 1); // label 3 to its item
  set(1, 4, 3, 0.75); // query to the right label
  set(1, 4, 2, 0.125); // query to the right item
  set(1, 4, 1, 0.0625); // query to the wrong label
  const batch = { rows: 1, weights: new Float32Array(1), layout: Int32Array.of(7, 8, 8, 0) };
  expect(labelAttention(pattern, 2, batch as never, 2)).toEqual({
    itemLabel: [0.75, 0],
    queryLabel: [0, 0.75],
    queryItem: [0, 0.125],
  });
});

describe("a very small abrupt-learning", () => {
  let folder: string;
  let store: Store;
  const before = process.env["HEADSCOPE_HOME"];
  const experiment = experiments.get("abrupt-learning");
  const params = experimentParameters(experiments, "abrupt-learning", "quick", {
    seeds: [0, 1], sweep_seeds: [0], steps: 100, points: 20, K: 16, K_values: [8, 16], B_values: [1, 2],
    D: 7, d_model: 8, readout: 8, batch: 8, evaluation_rows: 16,
  }); // biome-ignore format: a table
  const run = (progress?: (done: number, total: number, label: string) => void) =>
    runExperiment(experiment, {
      ...{ store, preset: "quick", params, command: "headscope experiment run abrupt-learning" },
      ...(progress === undefined ? {} : { progress }),
    });

  beforeAll(async () => {
    await buildCli();
    folder = await mkdtemp(join(tmpdir(), "experiment-"));
    process.env["HEADSCOPE_HOME"] = folder;
    store = openStore({ folder });
  });
  afterAll(async () => {
    store.close();
    if (before === undefined) delete process.env["HEADSCOPE_HOME"];
    else process.env["HEADSCOPE_HOME"] = before;
    await rm(folder, { recursive: true });
  });

  test("trains, measures, judges and writes its report; again, it trains nothing", async () => {
    await expect(findReport(experiment, {}, folder)).rejects.toMatchObject({ kind: "missing" });
    const told: { done: number; total: number; label: string }[] = [];
    const { report, files, id } = await run((done, total, label) => told.push({ done, total, label }));
    expect(report.claims.map(({ id }) => id)).toEqual(experiment.claims.map(({ id }) => id));
    // Two seeds of four, and one of two in the sweeps.
    expect(new Set(report.claims.map(({ verdict }) => verdict))).toEqual(new Set(["too few seeds to tell"]));
    expect(report.claims.map(({ why }) => /\((\d of \d)\)/.exec(why)![1])).toEqual([
      ...["2 of 4", "2 of 4", "2 of 4", "2 of 4"],
      ...["1 of 2", "1 of 2", "1 of 2"],
    ]);
    // One whole: it never goes back, its total stays, and the last stage ends it.
    expect(new Set(told.map(({ total }) => total)).size).toBe(1);
    expect(told.map(({ done }) => done)).toEqual(told.map(({ done }) => done).sort((a, b) => a - b));
    expect(
      told.filter(({ label }) => label.startsWith("K 16, B 1, α 0")).every(({ done, total }) => done < total / 2),
    ).toBe(true);
    expect(told.at(-1)!.done).toBe(told.at(-1)!.total);
    // Two seeds of the main setting; one of K 8, B 2 and α 1 each: the main setting is part of every sweep.
    expect(report.runs).toHaveLength(5);
    expect(files.every((file) => existsSync(file))).toBe(true);
    const progress = report.figures.find(({ name }) => name === "progress-measures")!;
    const attention = progress.kind === "lines" ? progress.lines[1]! : undefined;
    // At initialisation attention is near even: 1/2, 1/4, 1/6 and 1/8 of a label's tokens so far are its item.
    expect(Math.abs(attention!.y[0]! - (1 / 2 + 1 / 4 + 1 / 6 + 1 / 8) / 4)).toBeLessThan(0.1);
    expect(attention!.x.at(-1)).toBe(100);

    const again = await run();
    expect(again.report.runs).toEqual(report.runs);
    expect(again.report.claims).toEqual(report.claims);
    expect(store.runs()).toHaveLength(5);
    // The second report took nothing from the first.
    const kept = await keptReports(experiment, folder);
    expect(kept.map((each) => each.id)).toEqual([again.id, id]);
    expect((await findReport(experiment, {}, folder)).report).toEqual(again.report);
    expect((await findReport(experiment, { id: id! }, folder)).report).toEqual(report);
    expect(settingText(kept[0]!)).toContain("changed: seeds 0,1, sweep_seeds 0, steps 100, points 20, K 16");
    expect(kept[0]!.verdicts).toEqual({ "too few seeds to tell": 7 });
  });

  test("is refused before it trains where its report cannot be written", async () => {
    const out = join(folder, "headscope.db"); // a file
    const refused = runExperiment(experiment, {
      store,
      preset: "quick",
      params: { ...params, steps: 101 },
      command: "",
      out,
    });
    await expect(refused).rejects.toMatchObject({ kind: "input", message: expect.stringContaining(out) });
    expect(store.runs()).toHaveLength(5);
  });

  test.each([
    ["a burstiness that does not divide N", { B_values: [1, 3] }, /N 4 is not divisible by B 3/],
    ["a burstiness that leaves one class in a context", { B_values: [1, 4] }, /N 4 pairs and B 4 has one class/],
    ["classes that are no multiple of the labels", { K_values: [8, 20] }, /K 20 is not a multiple of L 8/],
  ])("is refused before it trains: %s", async (_, change, message) => {
    const refused = runExperiment(experiment, {
      store,
      preset: "quick",
      params: { ...params, ...change },
      command: "",
    });
    await expect(refused).rejects.toMatchObject({ kind: "usage", message: expect.stringMatching(message) });
    expect(store.runs()).toHaveLength(5);
  });

  test("is cancelled by its signal, leaving no report", async () => {
    const out = join(folder, "cancelled");
    const controller = new AbortController();
    const reason = new Error("stop");
    const stopped = runExperiment(experiment, {
      store,
      preset: "quick",
      params: { ...params, steps: 100_000 },
      command: "",
      out,
      signal: controller.signal,
      progress: (done) => done > 0 && controller.abort(reason),
    });
    await expect(stopped).rejects.toBe(reason);
    expect(store.runs({ status: "cancelled" })).toHaveLength(2);
    expect(await readdir(out)).toEqual([]);
  });
});
