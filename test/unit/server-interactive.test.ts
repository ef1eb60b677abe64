import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import { HeadscopeError } from "../../backend/errors.ts";
import { Interactive } from "../../backend/server/interactive.ts";
import { LIMITS, type Limits } from "../../backend/server/limits.ts";
import { Refusal } from "../../backend/server/problems.ts";
import { buildCli, ROOT } from "../helpers/cli.ts";
import { patiently } from "../helpers/patience.ts";

const handlers = join(ROOT, "test/helpers/handlers.mjs");
const opened: Interactive[] = [];
beforeAll(buildCli);
afterEach(() => Promise.all(opened.splice(0).map((each) => each.close())));

function open(limits: Partial<Limits> = {}): Interactive {
  const interactive = new Interactive({ ...LIMITS, ...limits }, { handlers });
  opened.push(interactive);
  return interactive;
}

const never = () => new AbortController().signal;
const errorOf = (request: Promise<unknown>): Promise<Error> =>
  request.then(
    () => expect.unreachable(),
    (error) => error,
  );

/** A request that is computed until it is given up; resolves once it has begun. */
async function begun(interactive: Interactive): Promise<{ controller: AbortController; ended: Promise<Error> }> {
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
  const refused = (await errorOf(interactive.ask("echo", 3, { signal: never() }))) as Refusal;
  expect(refused).toBeInstanceOf(Refusal);
  expect(refused.problem).toMatchObject({ status: 429, kind: "busy" });
  first.controller.abort();
  expect(await Promise.all(waiting)).toEqual([1, 2]);
});

test("one that takes too long is stopped and refused", async () => {
  const computeMs = patiently(600);
  const interactive = open({ computeMs });
  const refused = (await errorOf(interactive.ask("obedient", null, { signal: never() }))) as Refusal;
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
