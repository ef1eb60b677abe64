import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { HeadscopeError, unknownName } from "../../../backend/common/errors.ts";
import type { PathMlps } from "../../../backend/common/patching.ts";
import { isInside } from "../../../backend/files.ts";
import { subjectOf } from "../../../backend/jobs/kind.ts";
import { kinds } from "../../../backend/jobs/kinds/index.ts";
import { Queue } from "../../../backend/jobs/queue.ts";
import { Remaining } from "../../../backend/jobs/remaining.ts";
import { WorkerCrash } from "../../../backend/jobs/worker-process.ts";
import { EventHub } from "../../../backend/server/events/hub.ts";
import { checkToken, isLoopback } from "../../../backend/server/http/guard.ts";
import { answerOf, limited, notFound, Refusal } from "../../../backend/server/http/problems.ts";
import { checkJson } from "../../../backend/server/http/route.ts";
import { forwardFlops } from "../../../backend/server/interactive/effort.ts";
import { Efforts } from "../../../backend/server/interactive/efforts.ts";
import { Prompts } from "../../../backend/server/interactive/prompts.ts";
import { JobRunner } from "../../../backend/server/jobs/runner.ts";
import { existingInside, pathOfId } from "../../../backend/server/library/files.ts";
import { trainCommand } from "../../../backend/server/routes/runs.ts";
import { openStore } from "../../../backend/store/store.ts";
import { refused } from "../../helpers/errors.ts";
import { smallConfig } from "../../helpers/models.ts";

describe("a job that another process works on", () => {
  test("is shown as far as that process last said, however often it was looked at before", async () => {
    const folder = mkdtempSync(join(tmpdir(), "headscope-runner-"));
    const store = openStore({ folder });
    const { id } = store.addJob("train", { runs: [] }, { keep: true });
    store.claimJob([id]);
    const runner = new JobRunner(store, new Queue(store, { kinds }), () => {});
    try {
      for (const done of [0, 3, 88]) {
        store.beat(id, { done, total: 100, label: "training" });
        runner.watch(store.jobEntry(id));
        expect(runner.summary(store.jobEntry(id)).progress).toMatchObject({ done });
        store.beat(id, { done: done + 1, total: 100, label: "training" });
        expect(runner.summary(store.jobEntry(id)).progress).toMatchObject({ done: done + 1 });
      }
    } finally {
      await runner.close();
      store.close();
      rmSync(folder, { recursive: true });
    }
  });
});

describe("the event hub", () => {
  const library = (hub: EventHub, count: number) => {
    for (let i = 0; i < count; i++) hub.emit("library", { mask: `masks/${i}.json` });
  };

  test("goes on after the event that was seen last, and starts a first visitor with nothing", () => {
    const hub = new EventHub(10);
    library(hub, 3);
    const seen = hub.last;
    library(hub, 2);
    expect(hub.since(undefined)).toEqual([]);
    expect(hub.since(seen)!.map(({ data }) => data)).toEqual([{ mask: "masks/0.json" }, { mask: "masks/1.json" }]);
    expect(hub.since(hub.last)).toEqual([]);
  });

  test("says so where an event is no longer kept, or was another server's", () => {
    const hub = new EventHub(3);
    library(hub, 1);
    const seen = hub.last;
    library(hub, 3);
    expect(hub.since(seen)).toHaveLength(3);
    library(hub, 1);
    expect(hub.since(seen)).toBeUndefined();
    const other = new EventHub(3);
    library(other, 1);
    for (const last of [other.last, "nonsense", `${hub.last}0`, "-1"]) expect(hub.since(last)).toBeUndefined();
  });

  test("tells every listener until it leaves", () => {
    const hub = new EventHub(3);
    const heard: unknown[] = [];
    const leave = hub.listen(({ data }) => heard.push(data), { client: "a", leave: () => {} });
    library(hub, 1);
    leave();
    library(hub, 1);
    expect(heard).toEqual([{ mask: "masks/0.json" }]);
    expect(hub.listeners).toBe(0);
  });

  describe("when all seats are taken", () => {
    const TURN = 1_000;
    let hub: EventHub;
    let left: string[];
    beforeEach(() => {
      vi.useFakeTimers({ toFake: ["performance"] });
      hub = new EventHub(3);
      left = [];
    });
    afterEach(() => vi.useRealTimers());
    const sit = (client: string, name: string) => hub.listen(() => {}, { client, leave: () => left.push(name) });

    test("the client with the most gives its oldest up to another, at once", () => {
      for (const [client, name] of [
        ["page", "p"],
        ["script", "s1"],
        ["script", "s2"],
      ] as const)
        sit(client, name);
      expect(hub.makeRoom("another page", 3, TURN)).toBe(true);
      expect([left, hub.listeners]).toEqual([["s1"], 2]);
    });

    test("a client that has the most itself waits for its turn", () => {
      for (const name of ["s1", "s2", "s3"]) sit("script", name);
      expect(hub.makeRoom("script", 3, TURN)).toBe(false);
      expect(left).toEqual([]);
      vi.advanceTimersByTime(TURN);
      expect(hub.makeRoom("script", 3, TURN)).toBe(true);
      expect([left, hub.listeners]).toEqual([["s1"], 2]);
    });
  });
});

describe("files", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "headscope-files-"));
    mkdirSync(join(folder, "data"));
    writeFileSync(join(folder, "data", "a.json"), "{}");
    writeFileSync(join(folder, "secret.json"), "{}");
    symlinkSync(join(folder, "secret.json"), join(folder, "data", "link.json"));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test("an id is plain names with slashes between them", () => {
    expect(pathOfId("/data", "scores/m/a-1.json")).toBe("/data/scores/m/a-1.json");
    for (const id of ["", ".", "..", "../a", "a/../b", "a//b", "/a", "a/", ".hidden", "a/.b", "a\\b", "a\0b"])
      expect(pathOfId("/data", id), id).toBeUndefined();
  });

  test("a folder holds itself and what is below it, and nothing whose name begins like its own", () => {
    expect(isInside("/data", "/data")).toBe(true);
    expect(isInside("/data", "/data/..a/b")).toBe(true);
    for (const path of ["/", "/data2", "/data/../etc", "/dat"]) expect(isInside("/data", path), path).toBe(false);
  });

  test("an existing file is found by its path from the data folder or by its absolute one", async () => {
    const data = join(folder, "data");
    expect(await existingInside([data], "a.json")).toBe(join(data, "a.json"));
    expect(await existingInside(["/nowhere", data], join(data, "a.json"))).toBe(join(data, "a.json"));
  });

  test("what lies elsewhere is refused, also behind a link; what is not there is not found", async () => {
    const data = join(folder, "data");
    const status = (given: string) =>
      existingInside([data], given).then(
        () => 200,
        (error: Refusal) => error.problem.status,
      );
    expect(await status("../secret.json")).toBe(403);
    expect(await status(join(folder, "secret.json"))).toBe(403);
    expect(await status("link.json")).toBe(403);
    expect(await status("a\0.json")).toBe(403);
    expect(await status("none.json")).toBe(404);
  });
});

describe("problems", () => {
  test.each([
    ["usage", 422],
    ["input", 422],
    ["unsupported", 422],
    ["corrupt", 422],
    ["missing", 404],
    ["mismatch", 409],
    ["network", 502],
    ["crashed", 503],
  ] as const)("an error of kind %s answers %i with its words", (kind, status) => {
    const { problem, defect } = answerOf(new HeadscopeError(kind, "it is so", { remedy: "do this" }));
    expect(problem).toMatchObject({ status, kind, detail: "it is so", remedy: "do this" });
    expect(defect).toBe(false);
  });

  test("a name that is not known is not found", () => {
    expect(answerOf(unknownName("probe", "inductoin", ["induction"])).problem).toMatchObject({
      status: 404,
      detail: 'unknown probe "inductoin"',
      remedy: "did you mean induction?",
    });
    expect(answerOf(new HeadscopeError("usage", 'unknown parameter "x" of probe y')).problem.status).toBe(422);
  });

  test("a crash and a full line say when to try again", () => {
    expect(answerOf(new WorkerCrash("the worker ended", { remedy: "run again" })).headers).toEqual({
      "retry-after": "1",
    });
    expect(answerOf(limited(429, "too many", "wait")).headers).toEqual({ "retry-after": "1" });
    expect(answerOf(notFound("no")).headers).toEqual({});
  });

  test("a defect says nothing of what it was", () => {
    const { problem, defect } = answerOf(new TypeError("cannot read secret of undefined"));
    expect(defect).toBe(true);
    expect(problem.status).toBe(500);
    expect(JSON.stringify(problem)).not.toContain("secret");
  });
});

test("depth is that of brackets outside of strings", () => {
  const depth = (text: string, most: number) => () =>
    checkJson(Buffer.from(text), { jsonDepth: most, jsonValues: 1_000, jsonKeys: 1_000 });
  expect(depth('[{"a": [1, [2]], "b": []}]', 4)).not.toThrow();
  expect(depth('[{"a": [1, [2]], "b": []}]', 3)).toThrow(Refusal);
  expect(depth('["[[[[", "\\"[[[", "\\\\"]', 1)).not.toThrow();
  expect(depth('["\\\\", [1]]', 1)).toThrow(Refusal);
});

test("prompts that were not asked about for longest make room", () => {
  const prompts = new Prompts(2);
  prompts.put("a", { model: "m", ids: [1] });
  prompts.put("b", { model: "m", ids: [2] });
  expect(prompts.get("a").ids).toEqual([1]);
  prompts.put("c", { model: "m", ids: [3] });
  expect(prompts.get("a").ids).toEqual([1]);
  expect(() => prompts.get("b")).toThrow(Refusal);
});

describe("the time that a job takes yet", () => {
  const at = (done: number, label = "training") => ({ done, total: 100, label });

  test("is that of what is left at the speed so far, less what has passed since", () => {
    const remaining = new Remaining();
    remaining.push(at(0), 0);
    expect(remaining.milliseconds(500)).toBeUndefined();
    remaining.push(at(20), 2_000);
    expect(remaining.milliseconds(2_000)).toBe(8_000);
    expect(remaining.milliseconds(3_000)).toBe(7_000);
    expect(remaining.milliseconds(60_000)).toBe(0);
  });

  test("is told anew for another stage, and from where a job went on", () => {
    const remaining = new Remaining();
    remaining.push(at(0), 0);
    remaining.push(at(50), 5_000);
    remaining.push(at(10, "measuring"), 6_000);
    expect(remaining.milliseconds(6_000)).toBeUndefined();
    remaining.push(at(20, "measuring"), 8_000);
    expect(remaining.milliseconds(8_000)).toBe(16_000);
  });
});

test("a job's title says what it does", () => {
  const title = (kind: string, spec: object) =>
    subjectOf(
      kinds.find(({ name }) => name === kind),
      { kind, ...spec },
    ).title;
  expect(title("probe", { model: "m", probes: [{ name: "induction" }, { name: "retrieval" }] })).toBe(
    "induction, retrieval on m",
  );
  expect(title("train", { runs: ["induction-1", "induction-2"] })).toBe("training induction-1, induction-2");
  expect(title("history", { run: "induction-1", probe: "induction" })).toBe(
    "induction over the checkpoints of induction-1",
  );
  expect(title("experiment", { name: "abrupt-learning", preset: "quick" })).toBe("experiment abrupt-learning, quick");
});

test("a run's command names what differs from the defaults", async () => {
  const [{ tasks }, { makeSpec }] = await Promise.all([
    import("../../../synthetic-tasks/index.ts"),
    import("../../../backend/training/spec.ts"),
  ]);
  const task = tasks.get("induction");
  const usual = { probes: task.defaults?.probes ?? [] };
  expect(trainCommand({ task: "induction", seed: 0, spec: makeSpec(task, {}, usual) })).toBe(
    "npx headscope train induction",
  );
  const spec = makeSpec(task, { steps: 7, vocabulary: 32, d_model: 16, n_heads: 2 });
  const mean = { ...spec, soup: ["run:induction-1@5", "run:induction-2@5"] };
  expect(trainCommand({ task: "induction", seed: 3, spec: mean })).toBe(
    "npx headscope runs soup run:induction-1@5 run:induction-2@5",
  );
  const command = trainCommand({ task: "induction", seed: 3, spec });
  const given = [...command.matchAll(/--param (\w+)=(\w+)/g)].map(([, name, value]) => `${name}=${value}`);
  expect(given.sort()).toEqual(["d_model=16", "n_heads=2", "steps=7", "vocabulary=32"]);
  expect(command).toMatch(/ --seed 3 --probes none$/);
});

describe("a host that others reach", () => {
  test("needs a token of some length", () => {
    for (const host of ["0.0.0.0", "::", "192.168.1.4", "example.org"]) {
      expect(isLoopback(host)).toBe(false);
      expect(() => checkToken(host, undefined)).toThrow(refused("usage"));
      expect(() => checkToken(host, "short")).toThrow(refused("usage"));
      checkToken(host, "0123456789abcdef");
    }
  });

  test("is none of this machine's own names", () => {
    for (const host of ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"]) {
      expect(isLoopback(host)).toBe(true);
      checkToken(host, undefined);
    }
    expect(isLoopback("127.0.0.1.example.org")).toBe(false);
  });
});

describe("how much a path patching computes", () => {
  test("grows where the MLPs between are computed again: every sender then begins at its own layer", async () => {
    const config = smallConfig({ n_layers: 4 });
    const context = { models: { describe: async () => ({ config }) }, interactive: {} };
    const efforts = new Efforts(context as never, new AbortController().signal);
    const pairs = [{ clean: [1, 2, 3], corrupt: [1, 4, 3], answer: 5, wrong: 6 }];
    const runs = async (mlps: PathMlps): Promise<number> => {
      const { flops } = await efforts.patch({ model: "m", pairs, into: ["3.0"], through: "q", mlps });
      return flops / forwardFlops(config, 3, 1) - 2; // the clean and the corrupt run apart
    };
    // Six senders in each of three layers: a quarter of the model behind them, and the layers before it.
    expect(await runs("frozen")).toBeCloseTo(6 * (3 / 4), 6);
    expect(await runs("recomputed")).toBeCloseTo(6 * (4 / 4 + 3 / 4 + 2 / 4), 6);
  });
});
