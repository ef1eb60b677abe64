import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import Libsql from "libsql";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { HeadscopeError } from "../../../backend/common/errors.ts";
import { subjectOf } from "../../../backend/jobs/kind.ts";
import { kinds } from "../../../backend/jobs/kinds/index.ts";
import { checkpointFile, checkpointSteps, runFolder } from "../../../backend/paths.ts";
import { KEPT_JOBS } from "../../../backend/store/jobs.ts";
import { isAlive, self } from "../../../backend/store/owner.ts";
import { APPLICATION_ID, MIGRATIONS } from "../../../backend/store/schema.ts";
import { databaseFile, openStore, type Store } from "../../../backend/store/store.ts";
import { bundleScript, startScript } from "../../helpers/processes/script.ts";
import { mountable } from "../../helpers/processes/small-disk.ts";
import { trainSpec } from "../../helpers/specs.ts";

const SPEC = trainSpec({ params: { length: 8 }, model: { d_model: 64 }, training: { steps: 100 } });
const ROOT_USER = process.getuid?.() === 0;
const NOBODY = 65_534;

let script = "";
let base = "";
let count = 0;
const open: Store[] = [];
beforeAll(async () => {
  script = await bundleScript("store-script");
  base = await mkdtemp(join(tmpdir(), "headscope-store-"));
});
afterEach(() => {
  for (const store of open.splice(0)) store.close();
});
afterAll(() => rm(base, { recursive: true, force: true }));

const newFolder = () => join(base, `home-${count++}`);

function store(folder = newFolder(), options: { create?: boolean } = {}): Store {
  const opened = openStore({ folder, ...options });
  open.push(opened);
  return opened;
}

/** The line of the error that `work` throws. */
function lineOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(error).toMatchObject({ name: "HeadscopeError" });
    return (error as HeadscopeError).line;
  }
  throw new Error("nothing was thrown");
}

describe("runs", () => {
  test("of several seeds are one group, and a specification comes back as it was", () => {
    const runs = store().createRuns(SPEC, [3, 4]);
    expect(runs.map(({ id, seed, group }) => [id, seed, group])).toEqual([
      ["induction-1", 3, "induction-1"],
      ["induction-2", 4, "induction-1"],
    ]);
    expect(runs[0]).toMatchObject({ status: "queued", step: 0, steps: 100, spec: SPEC });
  });

  test("have numbers that are never used again, not even those of folders whose rows are lost", () => {
    const folder = newFolder();
    const first = store(folder);
    first.createRuns(SPEC, [0, 1]);
    first.removeRun("induction-2");
    mkdirSync(runFolder("induction-3", folder), { recursive: true });
    expect(first.createRuns(SPEC, [2])[0]!.id).toBe("induction-4");
  });

  test("are found by what they are, in the order of their making", () => {
    const s = store();
    s.createRuns(SPEC, [0, 1]);
    s.createRuns({ ...SPEC, task: "mqar" }, [1]);
    s.updateRun("induction-2", { status: "done", step: 100 });
    expect(s.runs().map(({ id }) => id)).toEqual(["induction-1", "induction-2", "mqar-1"]);
    expect(s.runs({ seed: 1 }).map(({ id }) => id)).toEqual(["induction-2", "mqar-1"]);
    expect(s.runs({ group: "induction-1", status: "done" }).map(({ id }) => id)).toEqual(["induction-2"]);
  });

  test("lose an error when it is taken away", () => {
    const s = store();
    s.createRuns(SPEC, [0]);
    s.updateRun("induction-1", { status: "failed", error: "why" });
    expect(s.run("induction-1").error).toBe("why");
    s.updateRun("induction-1", { status: "queued", error: null });
    expect(s.run("induction-1")).not.toHaveProperty("error");
  });

  test("that do not exist are named with the nearest", () => {
    const s = store();
    s.createRuns(SPEC, [0]);
    expect(lineOf(() => s.run("inductoin-1"))).toBe('unknown run "inductoin-1"; did you mean induction-1?');
    expect(lineOf(() => s.addMetrics("x", 0, {}))).toMatch(/^unknown run "x"; /);
  });

  test("are removed with curves, checkpoints and folder, and nothing else is", () => {
    const folder = newFolder();
    const s = store(folder);
    for (const { id } of s.createRuns(SPEC, [0, 1])) {
      const file = checkpointFile(id, 5, folder);
      mkdirSync(runFolder(id, folder), { recursive: true });
      writeFileSync(file, "x");
      s.addMetrics(id, 5, { loss: 1 });
      s.addCheckpoint(id, { step: 5, file, bytes: 1, digest: "d" });
    }
    s.removeRun("induction-1");
    expect(readdirSync(join(folder, "runs"))).toEqual(["induction-2"]);
    expect(s.metrics("induction-2").get("loss")).toEqual([{ step: 5, value: 1 }]);
    expect(checkpointSteps("induction-2", folder)).toEqual([5]);
    const raw = new Libsql(databaseFile(folder));
    const rows = raw.prepare("SELECT (SELECT count(*) FROM metrics) m, (SELECT count(*) FROM checkpoints) c").all();
    raw.close();
    expect(rows).toEqual([{ m: 1, c: 1 }]);
  });

  test("with ids that are paths elsewhere are refused", () => {
    for (const id of ["../x", "a/b", "", "."]) expect(lineOf(() => runFolder(id, base))).toMatch(/ is no run; /);
  });
});

describe("curves", () => {
  test("come back bit for bit, ordered by step, with NaN where there was none", () => {
    const s = store();
    s.createRuns(SPEC, [0]);
    const values = [0.1, 1 / 3, Math.fround(0.1), Number.MIN_VALUE, -1e-7, 1e308, Number.NaN];
    values.forEach((value, i) => {
      s.addMetrics("induction-1", values.length - i, { loss: value, "induction.induction[1.3]": i });
    });
    const loss = s.metrics("induction-1").get("loss")!;
    expect(loss.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    const bits = (list: number[]) => [...new BigUint64Array(new Float64Array(list).buffer)];
    expect(bits(loss.map(({ value }) => value).reverse())).toEqual(bits(values));
    expect([...s.metrics("induction-1").keys()]).toEqual(["induction.induction[1.3]", "loss"]);
    expect(s.lastMetrics("induction-1").get("loss")).toEqual({ step: 7, value: 0.1 });
  });

  test("are cut with their checkpoints after a step, and measured again", () => {
    const folder = newFolder();
    const s = store(folder);
    s.createRuns(SPEC, [0]);
    for (const step of [0, 10, 20]) {
      s.addMetrics("induction-1", step, { loss: step });
      s.addCheckpoint("induction-1", { step, file: checkpointFile("induction-1", step, folder), bytes: 1, digest: "" });
    }
    s.truncate("induction-1", 10);
    expect(
      s
        .metrics("induction-1")
        .get("loss")!
        .map(({ step }) => step),
    ).toEqual([0, 10]);
    expect(s.checkpoints("induction-1").map(({ step }) => step)).toEqual([0, 10]);
    expect(s.run("induction-1").step).toBe(10);
    s.addMetrics("induction-1", 10, { loss: 7 });
    expect(s.metrics("induction-1").get("loss")!.at(-1)).toEqual({ step: 10, value: 7 });
  });

  test("are kept whole: what cannot be stored takes its whole batch with it", () => {
    const s = store();
    s.createRuns(SPEC, [0]);
    expect(() => s.addMetrics("induction-1", 1, { loss: 1, bad: true as unknown as number })).toThrow(/boolean/);
    expect(s.metrics("induction-1").size).toBe(0);
    s.addMetrics("induction-1", 1, { loss: 1 });
    expect(s.metrics("induction-1").size).toBe(1);
  });
});

describe("several processes", () => {
  test("write at once, and nothing is lost", async () => {
    const folder = newFolder();
    const s = store(folder);
    const runs = s.createRuns(SPEC, [0, 1, 2]);
    const ended = await Promise.all(runs.map(({ id }) => startScript(script, [folder, "write", id]).ended));
    expect(ended.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(3).fill({ code: 0, stderr: "" }));
    for (const { id } of runs) {
      const expected = Array.from({ length: 200 }, (_, step) => ({ step, value: step / 3 }));
      expect(s.metrics(id).get("loss")).toEqual(expected);
    }
  });

  test("make the store and name runs at once, and no name is given twice", async () => {
    const folder = newFolder();
    const made = await Promise.all(
      Array.from({ length: 4 }, () => startScript(script, [folder, "create", "mqar"]).ended),
    );
    expect(made.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(4).fill({ code: 0, stderr: "" }));
    const ids = made.flatMap(({ stdout }) => stdout.trim().split(" "));
    expect(new Set(ids).size).toBe(160);
    expect(store(folder).runs()).toHaveLength(160);
  });

  test("may die in the middle of a transaction: nothing of it is there, and all before it is", async () => {
    const folder = newFolder();
    const s = store(folder);
    s.createRuns(SPEC, [0]);
    s.addMetrics("induction-1", 0, { loss: 3 });
    const { signal } = await startScript(script, [folder, "die", "induction-1"]).ended;
    expect(signal).toBe("SIGKILL");
    expect(s.metrics("induction-1")).toEqual(new Map([["loss", [{ step: 0, value: 3 }]]]));
    s.addMetrics("induction-1", 1, { loss: 2 });
    s.close();
    open.length = 0;
    expect(store(folder).metrics("induction-1").get("loss")).toHaveLength(2);
  });
});

describe("the owner of a job", () => {
  const now = Date.now();
  const hours = 3_600_000;

  test("lives as long as its process, however long ago it was heard of", () => {
    expect(isAlive(self(), now - 24 * hours, now)).toBe(true);
  });

  test("is dead when its process has ended, or another has got its number", () => {
    const { pid } = spawnSync(process.execPath, ["--version"]);
    expect(isAlive({ host: hostname(), pid }, now, now)).toBe(false);
    if (process.platform === "linux") expect(isAlive({ ...self(), start: "1" }, now, now)).toBe(false);
  });

  test("on another machine lives as long as it is heard of", () => {
    const elsewhere = { host: "elsewhere.example", pid: 1 };
    expect(isAlive(elsewhere, now - 5_000, now)).toBe(true);
    expect(isAlive(elsewhere, now - hours, now)).toBe(false);
  });
});

describe("a data folder", () => {
  test("that is not there is not made by a reading command", () => {
    const folder = newFolder();
    expect(store(folder, { create: false }).runs()).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  test("can be moved", () => {
    const folder = newFolder();
    const s = openStore({ folder });
    s.createRuns(SPEC, [0]);
    s.addCheckpoint("induction-1", { step: 1, file: checkpointFile("induction-1", 1, folder), bytes: 1, digest: "" });
    s.close();
    const moved = newFolder();
    renameSync(folder, moved);
    expect(store(moved).checkpoints("induction-1")[0]!.file).toBe(checkpointFile("induction-1", 1, moved));
  });

  test("whose place is taken by a file is one clear line, also for a reading command", async () => {
    const folder = newFolder();
    await writeFile(folder, "");
    for (const create of [true, false])
      expect(lineOf(() => store(folder, { create }))).toMatch(
        /^the data folder .*home-\d+ cannot be made: a file is in (its place|the place of a folder); move the file away/,
      );
    expect(lineOf(() => store(join(folder, "below")))).toMatch(/cannot be made: a file is in the place of a folder; /);
  });

  test.skipIf(process.platform === "win32")("that may not be written is one clear line", async () => {
    const folder = newFolder();
    mkdirSync(folder);
    await chmod(base, 0o755);
    await chmod(folder, 0o555);
    // Root may write everywhere, so somebody else tries.
    const { code, stdout, stderr } = await startScript(
      script,
      [folder, "open"],
      ROOT_USER ? { uid: NOBODY, gid: NOBODY } : {},
    ).ended;
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toBe(
      `${databaseFile(folder)} cannot be opened for writing; make the folder ${folder} writable, or set HEADSCOPE_HOME to another one\n`,
    );
    const below = join(folder, "below");
    const made = await startScript(script, [below, "open"], ROOT_USER ? { uid: NOBODY, gid: NOBODY } : {}).ended;
    expect(made.stderr).toMatch(/^the data folder .*below cannot be made: permission denied; change its permissions/);
  });
});

describe("a database file", () => {
  test("of a newer version is left alone", () => {
    const folder = newFolder();
    openStore({ folder }).close();
    const raw = new Libsql(databaseFile(folder));
    raw.exec("PRAGMA user_version = 99");
    raw.close();
    expect(lineOf(() => store(folder))).toMatch(
      / was written by a newer headscope \(format 99; .*\); update headscope/,
    );
  });

  test("of another program is left alone", () => {
    const folder = newFolder();
    mkdirSync(folder);
    const raw = new Libsql(databaseFile(folder));
    raw.exec("CREATE TABLE theirs (x)");
    raw.close();
    expect(lineOf(() => store(folder))).toMatch(/ is another program's database; set HEADSCOPE_HOME/);
  });

  test("that is none, or is damaged, is one clear line", () => {
    const folder = newFolder();
    mkdirSync(folder);
    writeFileSync(databaseFile(folder), "no database at all. ".repeat(1000));
    expect(lineOf(() => store(folder))).toMatch(/headscope\.db is not a sound database \(.*\); move it away: /);

    const damaged = newFolder();
    const s = openStore({ folder: damaged });
    s.createRuns(SPEC, [0]);
    s.close();
    const bytes = 4096;
    writeFileSync(databaseFile(damaged), Buffer.alloc(40 * bytes, 0x5a), { flag: "r+" });
    expect(lineOf(() => store(damaged).runs())).toMatch(/ is not a sound database /);
  });
});

describe("a full disk", () => {
  const why = mountable ? "" : " (skipped: mounting a small file system needs root)";
  test.skipIf(!mountable)(
    `is one clear line; what was reported stays, and writing goes on after making room${why}`,
    () => {
      const folder = newFolder();
      mkdirSync(folder);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]);
      try {
        const s = openStore({ folder });
        try {
          s.createRuns(SPEC, [0]);
          let stored = 0;
          const line = lineOf(() => {
            for (;;) {
              s.transaction(() => {
                for (let i = 0; i < 100; i++) s.addMetrics("induction-1", stored + i, { loss: stored + i });
              });
              stored += 100;
            }
          });
          expect(line).toMatch(/ is full; make room and run again: nothing that was reported is lost$/);
          expect(stored).toBeGreaterThan(0);
          expect(s.metrics("induction-1").get("loss")).toHaveLength(stored);
          execFileSync("mount", ["-o", "remount,size=8m", folder]);
          s.addMetrics("induction-1", stored, { loss: 0 });
          expect(s.metrics("induction-1").get("loss")).toHaveLength(stored + 1);
        } finally {
          s.close();
        }
      } finally {
        execFileSync("umount", ["--lazy", folder]); // the library closes its files late
      }
    },
  );
});

describe("jobs", () => {
  test("are listed, claimed and watched without reading what they are to do", () => {
    const folder = newFolder();
    const s = store(folder);
    const long = s.addJob("needle", { model: "m" }, { keep: true, title: "needle questions to m", model: "m" });
    const next = s.addJob("echo", 1);
    const raw = new Libsql(databaseFile(folder));
    raw.prepare("UPDATE job_specs SET spec = 'no JSON' WHERE job = ?").run([long.id]);
    raw.close();
    expect(s.jobs()).toMatchObject([{ title: "needle questions to m", model: "m" }, { title: "echo" }]);
    expect(s.claimJob([next.id])).toMatchObject({ id: next.id, spec: 1 });
    expect(() => s.job(long.id)).toThrow(SyntaxError);
  });

  test("that have ended make room for later ones, the oldest first; those that have not ended stay", () => {
    const s = store();
    const waiting = s.addJob("echo", 0).id;
    const ended = Array.from({ length: KEPT_JOBS + 5 }, () => {
      const { id } = s.addJob("echo", 1);
      s.claimJob([id]);
      s.endJob(id, { status: "done" });
      return id;
    });
    expect(s.jobs().map(({ id }) => id)).toEqual([waiting, ...ended.slice(5)]);
  });

  test("are removed when they have ended, and their runs can go on", () => {
    const s = store();
    const [run] = s.createRuns(SPEC, [0]);
    const { id } = s.addJob("train", { runs: [run!.id] });
    s.updateRun(run!.id, { job: id, status: "cancelled" });
    expect(lineOf(() => s.removeJob(id))).toMatch(/has not ended; .*jobs cancel/);
    s.cancelJob(id);
    s.removeJob(id);
    expect(s.jobs()).toEqual([]);
    expect(s.run(run!.id)).not.toHaveProperty("job");
    expect(lineOf(() => s.removeJob(id))).toMatch(/^unknown job/);
  });

  test("wait for any process up to a limit, whichever way they come; those that a process keeps do not count", () => {
    const s = openStore({ folder: newFolder(), waiting: 1 });
    open.push(s);
    const kept = s.addJob("echo", 0, { keep: true }).id;
    s.cancelJob(kept);
    s.addJob("echo", 1);
    const full = expect.objectContaining({ kind: "busy" });
    expect(() => s.addJob("echo", 2)).toThrow(full);
    expect(() => s.resumeJob(kept)).toThrow(full);
    expect(s.jobs()).toHaveLength(2);
    s.addJob("echo", 3, { keep: true });
  });

  test("of a data folder of the first version keep what they are to do, and are given titles", () => {
    const folder = newFolder();
    mkdirSync(folder, { recursive: true });
    const raw = new Libsql(databaseFile(folder));
    for (const statement of [...MIGRATIONS[0]!, `PRAGMA application_id = ${APPLICATION_ID}`, "PRAGMA user_version = 1"])
      raw.prepare(statement).run([]);
    const specs: readonly (readonly [kind: string, spec: object | number, title: string])[] = [
      ["train", { runs: ["a-1", "a-2"] }, "training a-1, a-2"],
      [
        "probe",
        { kind: "probe", model: "m", probes: [{ name: "induction" }, { name: "duplicate-token" }] },
        "induction, duplicate-token on m",
      ],
      ["history", { run: "a-1", probe: "induction" }, "induction over the checkpoints of a-1"],
      ["needle", { model: "m" }, "needle questions to m"],
      ["experiment", { name: "abrupt-learning", preset: "quick" }, "experiment abrupt-learning, quick"],
      ["pull", { model: "hf:a/b" }, "fetching hf:a/b"],
      ["echo", 7, "echo"],
    ];
    for (const [kind, spec] of specs)
      raw
        .prepare("INSERT INTO jobs (kind, spec, status, created) VALUES (?, ?, 'done', '2026')")
        .run([kind, JSON.stringify(spec)]);
    raw.close();
    const s = store(folder);
    expect(s.jobs().map(({ title }) => title)).toEqual(specs.map(([, , title]) => title));
    expect(s.jobs().map(({ id }) => s.job(id).spec)).toEqual(specs.map(([, spec]) => spec));
    const subjects = specs.map(([kind, spec]) => ({
      title: kind,
      ...subjectOf(
        kinds.find(({ name }) => name === kind),
        spec,
      ),
    }));
    expect(subjects.map(({ title }) => title)).toEqual(specs.map(([, , title]) => title));
    expect(s.jobs().map(({ model }) => model)).toEqual(subjects.map(({ model }) => model));
  });
});
