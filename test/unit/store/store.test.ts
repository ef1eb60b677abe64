import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Libsql from "libsql";
import { beforeAll, describe, expect, test } from "vitest";
import { checkpointFile, checkpointSteps, runFolder } from "../../../backend/paths.ts";
import { databaseFile, openStore } from "../../../backend/store/store.ts";
import { bundleScript, startScript } from "../../helpers/processes/script.ts";
import { lineOf, ownStores, SPEC } from "../../helpers/processes/stores.ts";

const { base, newFolder, store } = ownStores();
let script = "";
beforeAll(async () => {
  script = await bundleScript("store-script");
});

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
    const s = openStore({ folder });
    s.createRuns(SPEC, [0]);
    s.addMetrics("induction-1", 0, { loss: 3 });
    const { signal } = await startScript(script, [folder, "die", "induction-1"]).ended;
    expect(signal).toBe("SIGKILL");
    expect(s.metrics("induction-1")).toEqual(new Map([["loss", [{ step: 0, value: 3 }]]]));
    s.addMetrics("induction-1", 1, { loss: 2 });
    s.close();
    expect(store(folder).metrics("induction-1").get("loss")).toHaveLength(2);
  });
});
