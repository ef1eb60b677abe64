// What runs can be ended: a second signal ends the command line whatever holds its event loop.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WorkerCrash } from "../../backend/jobs/worker-process.ts";
import { LIMITS } from "../../backend/server/http/limits.ts";
import { Interactive } from "../../backend/server/interactive/interactive.ts";
import { buildCli, ROOT } from "../helpers/cli.ts";
import { errorOf } from "../helpers/errors.ts";
import { bundleScript } from "../helpers/processes/script.ts";
import { patiently } from "../helpers/runner/patience.ts";
import { startServing } from "../helpers/servers/serving.ts";

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
  const before =
    hold === undefined ? [] : ["--import", pathToFileURL(join(ROOT, "test/helpers/processes/hold-loop.mjs")).href];
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
  Promise.race([promise, pause(patiently(10_000)).then(() => expect.unreachable("it still runs"))]);

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

test("a chat template that never ends outlives the process that asked for it by seconds at most", async () => {
  const endless =
    "{% for i in range(1000) %}{% for j in range(1000) %}{% for k in range(1000) %}{% endfor %}{% endfor %}{% endfor %}";
  const asker = spawn(process.execPath, [await bundleScript("chat-script"), endless], { stdio: "ignore" });
  children.push(asker);
  const childrenOf = () =>
    readFileSync(`/proc/${asker.pid}/task/${asker.pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  await expect.poll(childrenOf).toHaveLength(1);
  const [renderer] = childrenOf();
  asker.kill("SIGKILL");
  await expect.poll(() => existsSync(`/proc/${renderer}`), { timeout: patiently(15_000) }).toBe(false);
});

test("one signal lets a command tidy up", async () => {
  const { child, ended } = await startCommand(["serve", "--port", "0"], { until: "http://" });
  child.kill("SIGINT");
  const { code, said } = await soon(ended);
  expect(said).toContain("stopping");
  expect(code).toBe(0);
});

test.skipIf(process.platform !== "linux")(
  "a server whose worker is killed in the midst of requests answers them, and ends when it is told to",
  async () => {
    const serving = await startServing(home);
    const workers = () => {
      const { pid } = serving.process;
      return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
    };
    const headers = { ...serving.credentials, "content-type": "application/json" };
    const rows = [Array.from({ length: 120 }, (_, i) => (i * 7) % 120)];
    const ask = (): Promise<number> => {
      const body = JSON.stringify({ model: "toy-induction", rows, heads: ["1.1"], controls: 32 });
      return fetch(`${serving.url}/api/ablate`, { method: "POST", headers, body }).then(({ status }) => status);
    };
    expect(await ask()).toBe(200);
    for (let moment = 0; moment < 4; moment++) {
      const answers = [ask(), ask()];
      await pause(30 * moment);
      for (const pid of workers()) process.kill(pid, "SIGKILL");
      // One that was being done is a crash; one that was not is asked again of the next process.
      for (const status of await soon(Promise.all(answers))) expect([200, 503]).toContain(status);
    }
    const last = ask().catch(() => 0);
    for (const pid of workers()) process.kill(pid, "SIGSTOP");
    expect(await soon(serving.stop())).toBe(0);
    await last;
  },
  patiently(120_000),
);

describe("a worker that is ended by a request", () => {
  let names = 0;
  const opened: { close(): Promise<void> }[] = [];
  afterAll(() => Promise.all(opened.map((each) => each.close())));
  const never = new AbortController().signal;

  /** A resident worker over models that are files: what a file holds is what opening it does. */
  function resident() {
    const log = join(home, `log-${names++}`);
    writeFileSync(log, "");
    const interactive = new Interactive<Record<string, { payload: unknown; answer: unknown }>>(
      LIMITS,
      { handlers: join(ROOT, "test/helpers/processes/deadly-handlers.mjs"), environment: { LOG: log } },
      (model) => readFileSync(model, "utf8"),
    );
    opened.push(interactive);
    const model = (does: string) => {
      const path = join(home, `model-${names++}`);
      writeFileSync(path, does);
      return path;
    };
    const ask = (kind: string, payload: unknown) => interactive.ask(kind, payload, { signal: never });
    const lines = () => readFileSync(log, "utf8").trim().split("\n");
    return { interactive, model, ask, describe: (path: string) => ask("describe", { model: path }), lines };
  }

  test("fails that request, by its name and its model's", async () => {
    const { model, describe } = resident();
    const evil = model("kill");
    const error = await errorOf(describe(evil));
    expect(error).toBeInstanceOf(WorkerCrash);
    expect(error).toMatchObject({ kind: "crashed", request: { kind: "describe", model: evil } });
    expect(error.message).toContain(evil);
  });

  test("answers the others, and opens again what was open, the culprit aside", async () => {
    const { model, describe, interactive, lines } = resident();
    const [one, two, evil] = [model("open"), model("open"), model("kill")];
    await describe(one);
    await describe(two);
    const before = interactive.pid;
    const [dead, ...others] = await Promise.allSettled([describe(evil), describe(one), describe(one)]);
    expect(dead.status).toBe("rejected");
    expect(others.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
    const after = interactive.pid;
    expect(after).not.toBe(before);
    await expect.poll(() => lines().at(-1)).toBe(`${after} ${two}`);
    expect(lines().filter((line) => line.endsWith(evil))).toHaveLength(1);
  });

  test("asks one again that had not been begun when the process died", async () => {
    const { ask } = resident();
    await ask("dieLater", null);
    await pause(500); // work for idle times begins after a quarter of a second, and holds the process for half of one
    const held = ask("echo", "held");
    expect(await held).toBe("held");
  });

  test("opens a model no third time, until its file changes", async () => {
    const { model, describe, interactive } = resident();
    const evil = model("kill");
    expect((await errorOf(describe(evil))).kind).toBe("crashed");
    const waiting = await Promise.all([1, 2, 3].map(() => errorOf(describe(evil))));
    expect(waiting.map(({ kind }) => kind)).toEqual(["crashed", "unsupported", "unsupported"]);
    const { pid } = interactive;
    expect((await errorOf(describe(evil))).message).toContain("SIGKILL");
    expect(interactive.pid).toBe(pid);
    writeFileSync(evil, "open");
    expect(await describe(evil)).toBe("open");
  });

  test("keeps a model that has answered, whatever requests about it do", async () => {
    const { model, describe, ask } = resident();
    const good = model("open");
    await describe(good);
    for (let i = 0; i < 3; i++) expect((await errorOf(ask("kill", { model: good }))).kind).toBe("crashed");
    expect(await describe(good)).toBe("open");
  });
});
