import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { HeadscopeError } from "../../../backend/common/errors.ts";
import { kinds } from "../../../backend/jobs/kinds/index.ts";
import type { TrainEvent } from "../../../backend/jobs/kinds/train.ts";
import { Queue } from "../../../backend/jobs/queue.ts";
import { type TrainRunsOptions, trainRuns } from "../../../backend/jobs/train-runs.ts";
import { checkpointFile, checkpointSteps, runFolder } from "../../../backend/paths.ts";
import { openStore, type RunRecord, type Store } from "../../../backend/store/store.ts";
import { buildCli, ROOT } from "../../helpers/cli.ts";
import { refused } from "../../helpers/errors.ts";
import { headscope } from "../../helpers/headscope.ts";
import { bundleScript, startScript } from "../../helpers/processes/script.ts";
import { trainSpec } from "../../helpers/training/specs.ts";

// The trainer here is a stand-in whose curve is chaotic (test/helpers/processes/handlers.mjs): a wrong state shows at once.
const worker = { handlers: join(ROOT, "test/helpers/processes/handlers.mjs") };
const STEPS = 37;
let base = "";
let script = "";
let count = 0;
const stores: Store[] = [];
beforeAll(async () => {
  await buildCli();
  script = await bundleScript("store-script");
  base = await mkdtemp(join(tmpdir(), "headscope-train-"));
});
afterAll(async () => {
  for (const store of stores) store.close();
  await rm(base, { recursive: true, force: true });
});

function newStore(): Store {
  const store = openStore({ folder: join(base, `home-${count++}`) });
  stores.push(store);
  return store;
}

const spec = (params: object = {}) =>
  trainSpec({ task: "logistic", params, model: { d_model: 1 }, training: { steps: STEPS } });

const train = (store: Store, runs: readonly RunRecord[], options: TrainRunsOptions = {}) =>
  trainRuns(store, runs, { worker, ...options });

/** What an uninterrupted training of a seed measures. */
function expected(seed: number): { step: number; value: number }[] {
  let value = 1 / (seed + 3);
  return Array.from({ length: STEPS }, (_, i) => {
    value = 3.9 * value * (1 - value);
    return { step: i + 1, value };
  });
}

const curve = (store: Store, id: string) => store.metrics(id).get("loss");
const ids = (runs: readonly RunRecord[]) => runs.map(({ id }) => id);

/** A run whose job another process works on, until the test kills it. */
async function trainedElsewhere(store: Store) {
  const runs = store.createRuns(spec(), [0]);
  const { id } = store.addJob("train", { runs: ids(runs) });
  store.updateRun("logistic-1", { job: id, status: "running" });
  const other = startScript(script, [store.folder, "claim"]);
  await other.firstLine;
  return { runs, id, other };
}

describe("training runs", () => {
  test("brings curves, checkpoints and the end into the store, for all seeds of the group", async () => {
    const store = newStore();
    const events: TrainEvent[] = [];
    const done = await train(store, store.createRuns(spec(), [0, 1]), { onEvent: (event) => events.push(event) });
    expect(done.map(({ id, status, step }) => [id, status, step])).toEqual([
      ["logistic-1", "done", STEPS],
      ["logistic-2", "done", STEPS],
    ]);
    expect(curve(store, "logistic-1")).toEqual(expected(0));
    expect(curve(store, "logistic-2")).toEqual(expected(1));
    expect(store.checkpoints("logistic-2").map(({ step }) => step)).toEqual([0, 10, 20, 30]);
    expect(checkpointSteps("logistic-2", store.folder)).toEqual([0, 10, 20, 30]);
    expect(events.filter(({ event }) => event === "metrics")).toHaveLength(2 * STEPS);
    expect(store.jobs()).toMatchObject([{ kind: "train", status: "done", progress: { done: STEPS, total: STEPS } }]);
  });

  test("that are done are not trained again", async () => {
    const store = newStore();
    const runs = await train(store, store.createRuns(spec(), [0]));
    expect(await train(store, runs)).toEqual(runs);
    expect(store.jobs()).toHaveLength(1);
  });

  test("cancelled keep a checkpoint of their last step, and go on from it bit for bit", async () => {
    const store = newStore();
    const stop = new AbortController();
    const onProgress = ({ done }: { done: number }) => done === 13 && stop.abort();
    const [run] = await train(store, store.createRuns(spec(), [0]), { signal: stop.signal, onProgress });
    expect(run!.status).toBe("cancelled");
    expect(run!.step).toBeGreaterThanOrEqual(13);
    expect(run!.step).toBeLessThan(STEPS);
    expect(checkpointSteps(run!.id, store.folder).at(-1)).toBe(run!.step);
    const [resumed] = await train(store, [run!]);
    expect(resumed).toMatchObject({ status: "done", step: STEPS });
    expect(curve(store, run!.id)).toEqual(expected(0));
    expect(store.jobs()).toMatchObject([{ status: "done" }]);
  });

  test("whose signal is aborted before the start wait to be resumed", async () => {
    const store = newStore();
    const [run] = await train(store, store.createRuns(spec(), [0]), { signal: AbortSignal.abort() });
    expect(run).toMatchObject({ status: "cancelled", step: 0 });
    expect(store.jobs()).toMatchObject([{ status: "cancelled" }]);
    expect((await train(store, [run!]))[0]!.status).toBe("done");
  });

  test("whose worker is killed go on by themselves from the last checkpoint, bit for bit", async () => {
    const store = newStore();
    const once = join(store.folder, "once");
    const runs = await train(store, store.createRuns(spec({ dieAt: 27, once }), [0, 1]));
    expect(existsSync(once)).toBe(true);
    expect(runs.map(({ status }) => status)).toEqual(["done", "done"]);
    for (const [i, run] of runs.entries()) expect(curve(store, run.id)).toEqual(expected(i));
    expect(store.jobs()[0]!.attempts).toBe(2);
  });

  test("whose worker is killed every time fail with the reason and keep the checkpoints", async () => {
    const store = newStore();
    const runs = store.createRuns(spec({ dieAt: 27 }), [0]);
    const error = await train(store, runs).catch((thrown: HeadscopeError) => thrown);
    expect((error as HeadscopeError).line).toMatch(/^the worker ended by SIGKILL while doing "train"; /);
    expect(store.run("logistic-1")).toMatchObject({ status: "failed", error: (error as HeadscopeError).line });
    expect(checkpointSteps("logistic-1", store.folder)).toEqual([0, 10, 20]);
  });

  test("that fail say why, and keep curve and checkpoints", async () => {
    const store = newStore();
    const runs = store.createRuns(spec({ failAt: 14 }), [0]);
    await expect(train(store, runs)).rejects.toThrow("no number at step 14");
    expect(store.run("logistic-1")).toMatchObject({ status: "failed", error: "no number at step 14" });
    expect(curve(store, "logistic-1")).toEqual(expected(0).slice(0, 14));
    expect(store.checkpoints("logistic-1").map(({ step }) => step)).toEqual([0, 10]);
  });

  test("go on from the last checkpoint that all of the group have as a row and as a file", async () => {
    const store = newStore();
    const stop = new AbortController();
    const onProgress = ({ done }: { done: number }) => done === 33 && stop.abort();
    const runs = await train(store, store.createRuns(spec(), [0, 1]), { signal: stop.signal, onProgress });
    const [a, b] = ids(runs) as [string, string];
    // As after a kill -9: of one run the last file was written and never told of, of the other it is gone.
    store.truncate(a, 20);
    await rm(checkpointFile(b, 20, store.folder));
    writeFileSync(join(runFolder(b, store.folder), "step-000000034.safetensors.1.ab.part"), "half");
    const events: TrainEvent[] = [];
    await train(store, runs, { onEvent: (event) => events.push(event) });
    expect(events[0]).toMatchObject({ event: "metrics", step: 11 });
    for (const [i, id] of [a, b].entries()) expect(curve(store, id)).toEqual(expected(i));
    expect(readdirSync(runFolder(b, store.folder)).filter((name) => name.endsWith(".part"))).toEqual([]);
  });

  test("are left to the living process that trains them", async () => {
    const store = newStore();
    const { runs, id, other } = await trainedElsewhere(store);
    await expect(train(store, runs)).rejects.toThrow(
      refused("usage", { message: `process ${other.child.pid} (job ${id})` }),
    );
    expect(() => store.removeRun("logistic-1")).toThrow(refused("usage", { message: "run logistic-1" }));
    expect(store.shownStatus(store.run("logistic-1"))).toBe("running");
    other.child.kill("SIGKILL");
    await other.ended;
    expect(store.shownStatus(store.run("logistic-1"))).toBe("interrupted");
    expect((await train(store, runs))[0]!.status).toBe("done");
    store.removeRun("logistic-1");
    expect(store.runs()).toEqual([]);
  });
});

describe("training that waits for whoever trains the runs already", () => {
  /** A training that is under way; in an object, since a promise that is returned would be waited for. */
  async function begun(store: Store, runs: readonly RunRecord[]): Promise<{ first: Promise<RunRecord[]> }> {
    let first!: Promise<RunRecord[]>;
    await new Promise<void>((resolve) => {
      first = train(store, runs, { onProgress: () => resolve() });
    });
    return { first };
  }

  test("tells how far the other is, and ends with its result", async () => {
    const store = newStore();
    const runs = store.createRuns(spec({ pace: 80 }), [0]);
    const { first } = await begun(store, runs);
    const told: number[] = [];
    const second = await train(store, runs, { whenBusy: "wait", onProgress: ({ done }) => told.push(done) });
    expect(second).toMatchObject([{ status: "done", step: STEPS }]);
    expect(await first).toEqual(second);
    expect(told.length).toBeGreaterThan(0);
    expect(curve(store, "logistic-1")).toEqual(expected(0));
    expect(store.jobs()).toMatchObject([{ status: "done", attempts: 1 }]);
  });

  test("goes on itself where the other dies", async () => {
    const store = newStore();
    const { runs, other } = await trainedElsewhere(store);
    const waiting = train(store, runs, { whenBusy: "wait" });
    other.child.kill("SIGKILL");
    expect((await waiting)[0]).toMatchObject({ status: "done", step: STEPS });
    expect(curve(store, "logistic-1")).toEqual(expected(0));
  });

  test("ends with its signal, and leaves the other alone", async () => {
    const store = newStore();
    const { runs, id, other } = await trainedElsewhere(store);
    const stop = new AbortController();
    const waiting = train(store, runs, { whenBusy: "wait", signal: stop.signal });
    stop.abort();
    await waiting;
    expect(store.job(id)).toMatchObject({ status: "running", cancel: false });
    other.child.kill("SIGKILL");
    await other.ended;
  });

  test("fails with what the other failed with", async () => {
    const store = newStore();
    const runs = store.createRuns(spec({ failAt: 14, pace: 80 }), [0]);
    const { first } = await begun(store, runs);
    first.catch(() => {});
    await expect(train(store, runs, { whenBusy: "wait" })).rejects.toMatchObject({
      message: expect.stringContaining("no number at step 14"),
    });
    await expect(first).rejects.toThrow("no number at step 14");
  });
});

describe("headscope runs and jobs", () => {
  const env = (store: { folder: string }) => ({ env: { HEADSCOPE_HOME: store.folder } });

  test("say that there is nothing, and make nothing", async () => {
    const store = { folder: join(base, "nothing") };
    expect((await headscope(["runs", "list", "--json"], env(store))).json()).toEqual([]);
    expect((await headscope(["jobs", "list", "--json"], env(store))).json()).toEqual([]);
    expect((await headscope(["runs", "list"], env(store))).stdout).toMatch(/There are no runs yet/);
    const { code, stderr } = await headscope(["runs", "show", "logistic-1"], env(store));
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: 'headscope: unknown run "logistic-1"; there is no run to choose from\n',
    });
    expect(existsSync(store.folder)).toBe(false);
  });

  test("list, show, compare and remove", async () => {
    const store = newStore();
    await train(store, store.createRuns(spec(), [0]));
    await train(store, store.createRuns(spec({ dieAt: 99 }), [1]));
    await rm(checkpointFile("logistic-2", 10, store.folder));

    const list = (await headscope(["runs", "list", "--json"], env(store))).json<object[]>();
    expect(list).toMatchObject([
      { id: "logistic-1", task: "logistic", status: "done", step: STEPS, seed: 0, loss: expected(0).at(-1)!.value },
      { id: "logistic-2", task: "logistic", status: "done", step: STEPS, seed: 1, group: "logistic-2" },
    ]);
    expect((await headscope(["runs", "list"], env(store))).stdout).toMatch(/^logistic-1 +done +37 +37 +0 +\d\.\d{3} /m);

    const shown = (await headscope(["runs", "show", "logistic-2", "--json"], env(store))).json();
    expect(shown).toMatchObject({
      id: "logistic-2",
      metrics: { loss: expected(1).at(-1)!.value },
      curves: { loss: { steps: expected(1).map(({ step }) => step), values: expected(1).map(({ value }) => value) } },
      checkpoints: [{ step: 0 }, { step: 10, missing: true }, { step: 20 }, { step: 30 }],
    });
    const text = (await headscope(["runs", "show", "logistic-2"], env(store))).stdout;
    expect(text).toMatch(/loss +\d\.\d{3} +\d\.\d{3} +[▁▂▃▄▅▆▇█]{32}$/m);
    expect(text).toMatch(/Checkpoints \(32 B\): 0, 10, 20, 30\nThe files of 10 are gone\./);
    expect(text).toMatch(/dieAt=99 d_model=1 steps=37/);

    const diff = ["runs", "diff", "logistic-1", "logistic-2"];
    expect((await headscope([...diff, "--json"], env(store))).json()).toEqual({
      runs: ["logistic-1", "logistic-2"],
      parameters: { seed: [0, 1], dieAt: [null, 99] },
      metrics: { loss: [expected(0).at(-1)!.value, expected(1).at(-1)!.value] },
    });
    expect((await headscope(diff, env(store))).stdout).toMatch(/^loss +\d\.\d{3} +\d\.\d{3} +[+-]\d\.\d{3}$/m);

    mkdirSync(join(store.folder, "runs", "other"));
    expect((await headscope(["runs", "rm", "logistic-2", "--json"], env(store))).json()).toEqual({
      run: "logistic-2",
      freed: 24,
    });
    expect(readdirSync(join(store.folder, "runs"))).toEqual(["logistic-1", "other"]);
    const again = await headscope(["runs", "rm", "logistic-2"], env(store));
    expect(again).toMatchObject({
      code: 2,
      stderr: 'headscope: unknown run "logistic-2"; did you mean logistic-1?\n',
    });
  });

  test("cancel a waiting job with its runs, and name what is wrong with a job's id", async () => {
    const store = newStore();
    const runs = store.createRuns(spec(), [0]);
    const { id } = new Queue(store, { kinds }).add("train", { runs: ids(runs) });
    store.updateRun("logistic-1", { job: id });
    const cancelled = await headscope(["jobs", "cancel", String(id), "--json"], env(store));
    expect(cancelled.json()).toMatchObject({ id, status: "cancelled" });
    expect(store.run("logistic-1").status).toBe("cancelled");
    expect((await headscope(["jobs", "list"], env(store))).stdout).toMatch(/^ +1 +train +cancelled .* logistic-1$/m);
    for (const [word, message] of [
      ["x", /^headscope: a job's id cannot be "x"; give a whole number from 1\n$/],
      ["7", /^headscope: unknown job "7"; did you mean 1\?\n$/],
    ] as const) {
      const { code, stderr } = await headscope(["jobs", "resume", word], env(store));
      expect(code).toBe(2);
      expect(stderr).toMatch(message);
    }
  });
});
