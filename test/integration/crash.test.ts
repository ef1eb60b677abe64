import { type ChildProcess, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Random } from "../../backend/common/random.ts";
import { checkpointFile, checkpointSteps } from "../../backend/paths.ts";
import { openStore, type Store } from "../../backend/store/store.ts";
import { buildCli, type CliRun, spawnHeadscope } from "../helpers/cli.ts";
import { mountable } from "../helpers/processes/small-disk.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";

const STEPS = 1_500;
const KILLS = 10;
const SIZE = { n_layers: 1, n_heads: 2, d_model: 16, batch: 4, context: 32, vocabulary: 16 };
const LENGTHS = { segment_min: 4, segment_max: 8, gap_max: 4, evaluation_rows: 16, points: 150, checkpoints: 60 };
const RUNS = ["induction-1", "induction-2"] as const;
const TRAIN = [
  ...["train", "induction", "--steps", String(STEPS), "--seeds", "0,1", "--probes", "none", "--json"],
  ...Object.entries({ ...SIZE, ...LENGTHS }).flatMap(([name, value]) => ["--param", `${name}=${value}`]),
];

let base = "";
const stores: Store[] = [];
/** Every measurement of the uninterrupted training, by run and name. */
let whole: Record<string, Curves>;

type Curves = ReturnType<Store["metrics"]>;

beforeAll(async () => {
  await buildCli();
  base = await mkdtemp(join(tmpdir(), "headscope-crash-"));
  const home = join(base, "whole");
  expect(await spawnHeadscope(TRAIN, { env: { HEADSCOPE_HOME: home } })).toMatchObject({ code: 0 });
  const store = storeOf(home);
  whole = Object.fromEntries(RUNS.map((id) => [id, store.metrics(id)]));
  expect(whole[RUNS[0]]!.get("loss")!.length).toBeGreaterThan(100);
});
afterAll(async () => {
  for (const store of stores) store.close();
  await rm(base, { recursive: true, force: true });
});

function storeOf(folder: string): Store {
  const store = openStore({ folder });
  stores.push(store);
  return store;
}

/** A `headscope` that runs. */
function start(args: readonly string[], home: string): { child: ChildProcess; ended: Promise<CliRun> } {
  let child!: ChildProcess;
  const ended = spawnHeadscope(args, {
    env: { HEADSCOPE_HOME: home },
    onSpawn: (spawned) => {
      child = spawned;
    },
  });
  return { child, ended };
}

/** Process ids of a process's children. */
function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // it has ended
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    expect(error).toMatchObject({ code: "ESRCH" }); // it ended by itself meanwhile
  }
}

/** The part of curves up to a step. */
function upTo(curves: Curves, last: number): Curves {
  const cut = [...curves].map(([name, points]) => [name, points.filter(({ step }) => step <= last)] as const);
  return new Map(cut.filter(([, points]) => points.length > 0));
}

const linux = process.platform === "linux";

describe("kill -9", () => {
  const title = `at ${KILLS} random moments of a training loses at most what came after the last checkpoint, and the resumed curve is the uninterrupted one, bit for bit`;
  test.skipIf(!linux)(
    linux ? title : `${title} (skipped: finding the worker's process needs /proc)`,
    async () => {
      const home = join(base, "killed");
      const store = storeOf(home);
      const random = new Random(10);
      const moments = Array.from({ length: KILLS }, () => 1 + random.integer(0, STEPS - 100)).sort((a, b) => a - b);
      const victims: string[] = [];
      let cli = start(TRAIN, home);
      for (const moment of moments) {
        let worker: number | undefined;
        for (;;) {
          const [run] = store.runs();
          [worker] = childrenOf(cli.child.pid!);
          if (run !== undefined && worker !== undefined && run.step >= moment && store.liveJob(run)) break;
          expect(run?.status).not.toBe("done");
          if (cli.child.exitCode !== null) cli = start(["train", "--resume", RUNS[0], "--json"], home);
          await sleep(5);
        }
        const victim = random.uniform() < 0.5 ? "cli" : "worker";
        victims.push(victim);
        kill(victim === "cli" ? cli.child.pid! : worker);
        await Promise.all([untilGone(worker), victim === "cli" ? cli.ended : undefined]);
        for (const id of RUNS) {
          const kept = store.checkpoints(id).at(-1)!.step;
          expect(upTo(store.metrics(id), kept)).toEqual(upTo(whole[id]!, kept));
          expect(existsSync(checkpointFile(id, kept, home))).toBe(true);
        }
        if (victim === "cli") cli = start(["train", "--resume", RUNS[0], "--json"], home);
      }
      expect(new Set(victims)).toEqual(new Set(["cli", "worker"]));
      let last = await cli.ended;
      if (last.code !== 0)
        last = await spawnHeadscope(["train", "--resume", RUNS[0], "--json"], { env: { HEADSCOPE_HOME: home } });
      expect(last).toMatchObject({ code: 0 });
      for (const id of RUNS) {
        expect(store.run(id)).toMatchObject({ status: "done", step: STEPS });
        expect(store.metrics(id)).toEqual(whole[id]);
      }
    },
    patiently(900_000),
  );
});

async function untilGone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`)) await sleep(5);
}

describe("kill -9 of what runs an experiment", () => {
  const PARAMS = {
    ...{ seeds: "0", steps: "600", points: "20", batch: "8", vocabulary: "16" },
    ...{ n_heads: "2", d_model: "16", evaluation_rows: "16" },
  };
  const REQUEST = { kind: "experiment", name: "induction-emergence", preset: "quick", params: PARAMS };
  type Shown = { id: number; kind: string; status: string; error?: string; result?: { report: string } };

  const jobsOf = async ({ url, credentials }: Serving): Promise<Shown[]> =>
    (await (await fetch(`${url}/api/jobs`, { headers: credentials })).json()) as never;
  const run = async ({ url, credentials }: Serving): Promise<Shown> => {
    const headers = { "content-type": "application/json", ...credentials };
    const answer = await fetch(`${url}/api/jobs`, { method: "POST", headers, body: JSON.stringify(REQUEST) });
    expect(answer.status).toBe(202);
    return (await answer.json()) as never;
  };
  /** Waits until something is trained for the experiment. */
  const underWay = async (store: Store): Promise<void> => {
    for (;;) {
      const jobs = store.jobs();
      expect(jobs.filter(({ status }) => status === "failed")).toEqual([]);
      if (jobs.some(({ kind, status, progress }) => kind === "train" && status === "running" && progress?.done)) return;
      await sleep(20);
    }
  };
  const ended = async (serving: Serving, ids: readonly number[]): Promise<Shown[]> => {
    for (;;) {
      const jobs = (await jobsOf(serving)).filter(({ id }) => ids.includes(id));
      if (jobs.every(({ status }) => !["queued", "running", "interrupted"].includes(status))) return jobs;
      await sleep(100);
    }
  };

  test(
    "the server: what it trained goes on with the next one, and both the experiment and another run of it wait for that",
    async () => {
      const home = join(base, "served");
      const store = storeOf(home);
      const first = await startServing(home);
      const { id } = await run(first);
      await underWay(store);
      first.process.kill("SIGKILL");
      const second = await startServing(home);
      try {
        // Whichever of the two is first at the training, the other one waits for it.
        const again = await run(second);
        for (const job of await ended(second, [id, again.id])) {
          expect(job).toMatchObject({ status: "done" });
          const answer = await fetch(
            `${second.url}/api/experiments/induction-emergence/report?id=${job.result!.report}`,
            { headers: second.credentials },
          );
          expect(await answer.json()).toMatchObject({ parameters: { steps: 600, seeds: [0] } });
        }
        expect(store.jobs().filter(({ status }) => status !== "done")).toEqual([]);
        expect(store.runs().map(({ status, step }) => [status, step])).toEqual([
          ["done", 600],
          ["done", 600],
        ]);
      } finally {
        await second.stop();
      }
    },
    patiently(600_000),
  );

  test(
    "the command: run again beside a server that has taken the training over, it waits and gives the report",
    async () => {
      const home = join(base, "commanded");
      const store = storeOf(home);
      const args = ["experiment", "run", "induction-emergence", "--json"].concat(
        Object.entries(PARAMS).flatMap(([name, value]) => ["--param", `${name}=${value}`]),
      );
      const cli = start(args, home);
      await underWay(store);
      kill(cli.child.pid!);
      await cli.ended;
      const serving = await startServing(home);
      try {
        await underWay(store);
        const again = await spawnHeadscope(args, { env: { HEADSCOPE_HOME: home } });
        expect(again).toMatchObject({ code: 0 });
        expect(again.json()).toMatchObject({ experiment: { name: "induction-emergence" }, runs: { length: 2 } });
      } finally {
        await serving.stop();
      }
    },
    patiently(600_000),
  );
});

describe("an interrupted training", () => {
  test("leaves runs that --resume goes on with, bit for bit", async () => {
    const home = join(base, "interrupted");
    const store = storeOf(home);
    const cli = start(TRAIN, home);
    while ((store.runs()[0]?.step ?? 0) < 200) await sleep(5);
    cli.child.kill("SIGINT");
    const { code, stdout, stderr } = await cli.ended;
    expect({ code, stdout }).toEqual({ code: 130, stdout: "" });
    expect(stderr).toMatch(/train --resume induction-1/);
    const [run] = store.runs();
    expect(run).toMatchObject({ status: "cancelled" });
    expect(checkpointSteps(RUNS[0], home).at(-1)).toBe(run!.step);
    const resumed = await spawnHeadscope(["train", "--resume", RUNS[1]], { env: { HEADSCOPE_HOME: home } });
    expect(resumed).toMatchObject({ code: 0 });
    for (const id of RUNS) expect(store.metrics(id)).toEqual(whole[id]);
  });
});

describe("a damaged run", () => {
  test("whose checkpoint is cut off is one clear line, and its rows stay", async () => {
    const home = join(base, "damaged");
    const env = { HEADSCOPE_HOME: home };
    const store = storeOf(home);
    const cli = start(TRAIN, home);
    while ((store.runs()[0]?.step ?? 0) < 100) await sleep(5);
    cli.child.kill("SIGINT");
    await cli.ended;
    const { step } = store.run(RUNS[0]);
    const file = checkpointFile(RUNS[0], step, home);
    await truncate(file, 1_000);
    const { code, stdout, stderr } = await spawnHeadscope(["train", "--resume", RUNS[0]], { env });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    const line = stderr.trimEnd().split("\n").at(-1)!;
    expect(line).toMatch(/^headscope: .*step-\d{9}\.safetensors.*; .+$/);
    expect(store.run(RUNS[0])).toMatchObject({ status: "failed", step, error: line.replace("headscope: ", "") });
    expect(upTo(store.metrics(RUNS[0]), step)).toEqual(upTo(whole[RUNS[0]]!, step));
  });
});

describe("a disk that fills up while training", () => {
  const title = "is one clear line; after making room the runs go on, bit for bit";
  test.skipIf(!mountable)(
    mountable ? title : `${title} (skipped: mounting a small file system needs root)`,
    async () => {
      const home = join(base, "full");
      const env = { HEADSCOPE_HOME: home };
      mkdirSync(home);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", home]);
      try {
        const { code, stdout, stderr } = await spawnHeadscope(TRAIN, { env });
        expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
        const line = stderr.trimEnd().split("\n").at(-1)!;
        expect(line).toMatch(/^headscope: .* full; make room and run again: nothing that was reported is lost$/);
        execFileSync("mount", ["-o", "remount,size=64m", home]);
        const resumed = await spawnHeadscope(["train", "--resume", RUNS[0]], { env });
        expect(resumed).toMatchObject({ code: 0 });
        const store = openStore({ folder: home });
        for (const id of RUNS) expect(store.metrics(id)).toEqual(whole[id]);
        store.close();
      } finally {
        execFileSync("umount", ["--lazy", home]);
      }
    },
  );

  test("cannot even begin is one clear line", async () => {
    const home = join(base, "file");
    await writeFile(home, "");
    const { code, stdout, stderr } = await spawnHeadscope(TRAIN, { env: { HEADSCOPE_HOME: home } });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toMatch(/^headscope: the data folder .*file cannot be made: a file is in its place; .*\n$/);
  });
});
