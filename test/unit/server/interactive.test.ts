import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { LIMITS, type Limits } from "../../../backend/server/http/limits.ts";
import { Refusal } from "../../../backend/server/http/problems.ts";
import { Interactive } from "../../../backend/server/interactive/interactive.ts";
import { buildCli, ROOT } from "../../helpers/cli.ts";
import { errorOf } from "../../helpers/errors.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const handlers = join(ROOT, "test/helpers/processes/handlers.mjs");
/** Requests to a worker with handlers of its own. */
type TestInteractive = Interactive<Record<string, { payload: unknown; answer: unknown }>>;

const opened: TestInteractive[] = [];
beforeAll(buildCli);
afterEach(() => Promise.all(opened.splice(0).map((each) => each.close())));

function open(limits: Partial<Limits> = {}): TestInteractive {
  const interactive: TestInteractive = new Interactive({ ...LIMITS, ...limits }, { handlers });
  opened.push(interactive);
  return interactive;
}

const never = () => new AbortController().signal;

/** A request that is computed until it is given up; resolves once it has begun. */
async function begun(interactive: TestInteractive): Promise<{ controller: AbortController; ended: Promise<Error> }> {
  const controller = new AbortController();
  let ended!: Promise<Error>;
  await new Promise<void>((resolve) => {
    ended = errorOf(interactive.ask("obedient", null, { signal: controller.signal, onEvent: () => resolve() }));
  });
  return { controller, ended };
}

test("requests are answered one after the other, in the order of their coming", async () => {
  const interactive = open();
  const order: number[] = [];
  const ask = async (i: number) => {
    expect(await interactive.ask("echo", i, { signal: never() })).toBe(i);
    order.push(i);
  };
  await Promise.all([0, 1, 2, 3, 4].map(ask));
  expect(order).toEqual([0, 1, 2, 3, 4]);
});

describe("a long one", () => {
  const long = { tokens: 5_000, flops: 1e15 };
  const flag = (): string => join(mkdtempSync(join(tmpdir(), "headscope-queue-")), "flag");

  /** A long request that goes on until its file is written; resolves once it has begun. */
  async function stepping(interactive: TestInteractive, payload: { file: string; die?: boolean }, caller = {}) {
    const controller = new AbortController();
    let ended!: Promise<unknown>;
    await new Promise<void>((resolve) => {
      const options = { signal: controller.signal, effort: long, caller, onEvent: () => resolve() };
      ended = interactive.ask("steps", payload, options);
      ended.catch(() => {});
    });
    return { controller, ended };
  }

  test("does not keep short ones waiting: they are done between its steps, and it goes on", async () => {
    const interactive = open();
    const file = flag();
    const { ended } = await stepping(interactive, { file });
    // It could not end before the short ones do: the last of them is what ends it.
    expect(await interactive.ask("echo", 1, { signal: never() })).toBe(1);
    expect(await interactive.ask("echo", 2, { signal: never(), effort: { tokens: 7, flops: 1e9 } })).toBe(2);
    await interactive.ask("write", file, { signal: never() });
    expect(await ended).toBe("done");
  });

  test("waits for the long ones before it, and the queue says for what", async () => {
    const interactive = open();
    const file = flag();
    const first = await stepping(interactive, { file }, { id: "tab-1" });
    const order: string[] = [];
    const second = interactive.ask("echo", 2, { signal: never(), effort: long, caller: { id: "tab-2" } });
    expect(interactive.queue).toMatchObject([
      { id: "tab-1", kind: "steps", lane: "long", state: "computing", tokens: 5_000, progress: { total: 0 } },
      { id: "tab-2", kind: "echo", lane: "long", state: "waiting", tokens: 5_000 },
    ]);
    const both = Promise.all([first.ended.then(() => order.push("first")), second.then(() => order.push("second"))]);
    await interactive.ask("write", file, { signal: never() });
    await both;
    expect(order).toEqual(["first", "second"]);
    expect(interactive.queue).toEqual([]);
  });

  test("is given up between two steps, and the process stays", async () => {
    const interactive = open();
    const { controller, ended } = await stepping(interactive, { file: flag() });
    const { pid } = interactive;
    controller.abort();
    await errorOf(ended);
    expect(await interactive.ask("pid", null, { signal: never() })).toBe(pid);
  });

  test("that takes its process with it does not fail a short one", async () => {
    const interactive = open();
    const file = flag();
    const { ended } = await stepping(interactive, { file, die: true });
    writeFileSync(file, "");
    expect(await Promise.all([1, 2, 3].map((i) => interactive.ask("echo", i, { signal: never() })))).toEqual([1, 2, 3]);
    expect(await errorOf(ended)).toMatchObject({ kind: "crashed" });
  });

  test("is refused with its estimate to one who would not wait so long, and done for one who would", async () => {
    const interactive = open();
    const ask = (wait?: number) =>
      interactive.ask("echo", 1, { signal: never(), effort: long, caller: wait === undefined ? {} : { wait } });
    const refused = await errorOf<Refusal>(ask(10));
    expect(refused.problem).toMatchObject({ status: 428, kind: "long", estimate: { tokens: 5_000 } });
    expect(refused.problem.estimate!.seconds).toBeGreaterThan(10);
    expect([await ask(1e6), await ask()]).toEqual([1, 1]);
  });
});

test("one that nobody waits for is stopped, and the next is answered by the same process", async () => {
  const interactive = open();
  const { controller, ended } = await begun(interactive);
  const pid = interactive.pid;
  const next = interactive.ask("pid", null, { signal: never() });
  controller.abort();
  await ended;
  expect(await next).toBe(pid);
});

test("one that waits leaves the line when it is given up", async () => {
  const interactive = open({ waiting: 1 });
  const first = await begun(interactive);
  const waiting = new AbortController();
  const given = errorOf(interactive.ask("echo", 1, { signal: waiting.signal }));
  expect(interactive.waiting).toBe(1);
  waiting.abort();
  await given;
  expect(interactive.waiting).toBe(0);
  const last = interactive.ask("echo", 2, { signal: never() });
  first.controller.abort();
  expect(await last).toBe(2);
});

test("as many as the limit wait; one more is refused", async () => {
  const interactive = open({ waiting: 2 });
  const first = await begun(interactive);
  const waiting = [1, 2].map((i) => interactive.ask("echo", i, { signal: never() }));
  const refused = await errorOf<Refusal>(interactive.ask("echo", 3, { signal: never() }));
  expect(refused).toBeInstanceOf(Refusal);
  expect(refused.problem).toMatchObject({ status: 429, kind: "busy" });
  first.controller.abort();
  expect(await Promise.all(waiting)).toEqual([1, 2]);
});

test("one that takes too long is stopped and refused", async () => {
  const computeMs = patiently(600);
  const interactive = open({ computeMs });
  const refused = await errorOf<Refusal>(interactive.ask("obedient", null, { signal: never() }));
  expect(refused.problem).toMatchObject({
    status: 503,
    detail: `obedient was not done within ${computeMs / 1000} s, and was stopped`,
  });
  expect(await interactive.ask("echo", 1, { signal: never() })).toBe(1);
});

test("one that does not stop has its process ended, and the next is answered by another", async () => {
  const interactive = open({ graceMs: 200 });
  const before = await interactive.ask("pid", null, { signal: never() });
  const controller = new AbortController();
  const given = errorOf(interactive.ask("deaf", null, { signal: controller.signal }));
  setTimeout(() => controller.abort(), 100);
  await given;
  expect(await interactive.ask("pid", null, { signal: never() })).not.toBe(before);
});

test("a worker that dies fails its request alone", async () => {
  const interactive = open();
  const dead = errorOf(interactive.ask("kill", "SIGKILL", { signal: never() }));
  const next = interactive.ask("echo", "alive", { signal: never() });
  const error = await dead;
  expect(error).toBeInstanceOf(HeadscopeError);
  expect((error as HeadscopeError).kind).toBe("crashed");
  expect(await next).toBe("alive");
});
