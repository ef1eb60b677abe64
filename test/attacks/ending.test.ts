// What runs can be ended: a second signal ends the command line whatever holds its event loop.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildCli, ROOT } from "../helpers/cli.ts";

let home = "";
beforeAll(async () => {
  await buildCli();
  home = mkdtempSync(join(tmpdir(), "headscope-ending-"));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

interface Ended {
  readonly code: number | null;
  readonly said: string;
}

/** A command line that has said something; `ended` resolves with its exit code. */
async function startCommand(
  args: readonly string[],
  { until, hold }: { until: string; hold?: string },
): Promise<{ child: ChildProcess; ended: Promise<Ended> }> {
  const before = hold === undefined ? [] : ["--import", pathToFileURL(join(ROOT, "test/helpers/hold-loop.mjs")).href];
  const child = spawn(process.execPath, [...before, join(ROOT, "backend/cli/bin.mjs"), ...args], {
    env: { ...process.env, HEADSCOPE_HOME: home, ...(hold === undefined ? {} : { HOLD: hold }) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  let said = "";
  const ended = new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ code, said })));
  await new Promise<void>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        if (said.includes(until)) resolve();
      });
    ended.then(({ code }) => reject(new Error(`it ended with ${code}: ${said}`)));
  });
  return { child, ended };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const soon = <T>(promise: Promise<T>) =>
  Promise.race([promise, pause(10_000).then(() => expect.unreachable("it still runs"))]);

describe.skipIf(!existsSync("/usr/bin/g++"))("two signals end a command whose event loop is held", () => {
  test.each([
    { hold: "loop", signals: ["SIGINT", "SIGINT"], code: 130 },
    { hold: "pattern", signals: ["SIGINT", "SIGINT"], code: 130 },
    { hold: "native", signals: ["SIGINT", "SIGINT"], code: 130 },
    { hold: "loop", signals: ["SIGINT", "SIGTERM"], code: 143 },
    { hold: "native", signals: ["SIGTERM", "SIGTERM"], code: 143 },
  ] as const)("$hold, $signals", async ({ hold, signals, code }) => {
    const { child, ended } = await startCommand(["serve", "--port", "0"], { until: "HELD", hold });
    child.kill(signals[0]);
    await pause(300);
    expect(child.exitCode).toBeNull();
    child.kill(signals[1]);
    expect(await soon(ended)).toMatchObject({ code });
  });
});

test("one signal lets a command tidy up", async () => {
  const { child, ended } = await startCommand(["serve", "--port", "0"], { until: "http://" });
  child.kill("SIGINT");
  const { code, said } = await soon(ended);
  expect(said).toContain("stopping");
  expect(code).toBe(0);
});
