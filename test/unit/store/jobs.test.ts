import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import Libsql from "libsql";
import { describe, expect, test } from "vitest";
import { subjectOf } from "../../../backend/jobs/kind.ts";
import { kinds } from "../../../backend/jobs/kinds/index.ts";
import { KEPT_JOBS } from "../../../backend/store/jobs.ts";
import { isAlive, self } from "../../../backend/store/owner.ts";
import { APPLICATION_ID, MIGRATIONS } from "../../../backend/store/schema.ts";
import { databaseFile } from "../../../backend/store/store.ts";
import { lineOf, ownStores, SPEC } from "../../helpers/processes/stores.ts";

const { newFolder, store } = ownStores();

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
    const s = store(newFolder(), { waiting: 1 });
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
