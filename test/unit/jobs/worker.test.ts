import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { Worker } from "../../../backend/jobs/client.ts";
import { WorkerCrash, type WorkerOptions } from "../../../backend/jobs/worker-process.ts";
import { buildCli, ROOT } from "../../helpers/cli.ts";
import { errorOf } from "../../helpers/errors.ts";
import { bundleScript, startScript } from "../../helpers/processes/script.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const handlers = join(ROOT, "test/helpers/processes/handlers.mjs");
/** Milliseconds after which a worker counts as hung; one that starts must be quicker. */
const SILENCE = patiently(500);
const workers: Worker[] = [];
beforeAll(buildCli);
afterEach(() => Promise.all(workers.splice(0).map((worker) => worker.close())));

function start(options: WorkerOptions = {}): Worker {
  const worker = new Worker({ handlers, ...options });
  workers.push(worker);
  return worker;
}

function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
}

async function untilGone(pid: number): Promise<void> {
  while (!isGone(pid)) await sleep(10);
}

describe("a request", () => {
  test("gives what the handler returns, in a process of its own that is used again", async () => {
    const worker = start();
    const value = { text: "é", list: [1, 0.1], nothing: null };
    expect(await worker.request("echo", value)).toEqual(value);
    const pid = await worker.request("pid", null);
    expect(pid).toBe(worker.pid);
    expect(pid).not.toBe(process.pid);
    expect(await worker.request("pid", null)).toBe(pid);
  });

  test("takes bytes along, and gives events in order with theirs", async () => {
    const body = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7);
    const events: number[] = [];
    const value = await start().request("reverse", null, {
      body,
      onEvent: async (event, bytes) => {
        await sleep(1);
        expect((event as { byte: number }).byte).toBe(bytes[0]);
        events.push(bytes[0]!);
      },
    });
    expect(value).toEqual({ reply: 200_000 });
    expect(events).toEqual([...body.slice(-10)].reverse());
  });

  test("waits for those before it", async () => {
    const worker = start();
    const order: string[] = [];
    await Promise.all([
      worker.request("many", 20).then(() => order.push("first")),
      worker.request("echo", 0).then(() => order.push("second")),
    ]);
    expect(order).toEqual(["first", "second"]);
  });

  test("is not broken by what libraries print", async () => {
    let printed = "";
    const worker = start({
      onOutput: (text) => {
        printed += text;
      },
    });
    expect(await worker.request("noise", 5)).toBe(5);
    expect(await worker.request("noise", 6)).toBe(6);
    expect(printed).toContain("a library prints");
  });

  test("fails with the handler's error, and the worker goes on", async () => {
    const worker = start();
    const pid = await worker.request("pid", null);
    const error = await errorOf(worker.request("fail", { message: "the reason" }));
    expect(error.message).toBe("the reason");
    expect(error.stack).toContain("handlers.mjs");
    expect(await worker.request("pid", null)).toBe(pid);
  });

  test("that meets a full disk says so in one line", async () => {
    const failure = { message: "ENOSPC: no space left on device, write", code: "ENOSPC", path: "/data/step-1" };
    const error = await errorOf(start().request("fail", failure));
    expect(error.line).toBe(
      "/data/step-1 cannot be written: the disk is full; make room and run again: nothing that was reported is lost",
    );
  });

  test("of a kind that nobody handles names the nearest", async () => {
    expect((await errorOf(start().request("ecko", null))).line).toMatch(
      /^unknown kind of job "ecko"; did you mean echo/,
    );
  });

  test("sees the number of threads that its worker was given", async () => {
    const { OMP_NUM_THREADS, TF_NUM_INTRAOP_THREADS } = process.env;
    const file = "/dev/null";
    expect(await start().request("meet", { mine: file, theirs: file })).toEqual(TF_NUM_INTRAOP_THREADS);
    expect(await start({ threads: 3 }).request("meet", { mine: file, theirs: file })).toBe("3");
    expect(process.env["OMP_NUM_THREADS"]).toBe(OMP_NUM_THREADS);
  });
});

describe("a crash", () => {
  test.each(["SIGKILL", "SIGABRT", "SIGSEGV"])(
    "by %s is the error of its request, and the next has a new process",
    async (signal) => {
      const worker = start();
      const pid = await worker.request("pid", null);
      const events: unknown[] = [];
      const crashed = worker.request("kill", signal, { onEvent: (event) => void events.push(event) });
      const next = worker.request("pid", null);
      const error = await errorOf(crashed);
      expect(error).toBeInstanceOf(WorkerCrash);
      expect(error.line).toMatch(new RegExp(`^the worker ended by ${signal} while doing "kill"; .*run again$`));
      expect(events).toEqual([{ before: "the end" }]);
      expect(await next).not.toBe(pid);
    },
  );

  test("fails its request also where a process that it left behind holds its pipes, and close ends", async () => {
    const worker = start();
    let orphan: number | undefined;
    const onEvent = (event: unknown) => {
      orphan = (event as { orphan: number }).orphan;
    };
    try {
      const error = await errorOf(worker.request("orphan", null, { onEvent }));
      expect(error).toBeInstanceOf(WorkerCrash);
      expect(error).toMatchObject({ signal: "SIGKILL", request: { kind: "orphan" } });
      expect(isGone(orphan!)).toBe(false);
      expect(await worker.request("echo", 1)).toBe(1);
      await worker.close();
    } finally {
      if (orphan !== undefined) process.kill(orphan, "SIGKILL");
    }
  });

  test("at any moment leaves no request pending, whatever is on its way", async () => {
    const worker = start();
    const body = new Uint8Array(4_000_000);
    for (let moment = 0; moment < 6; moment++) {
      const requests = [
        worker.request("many", 50, { body }),
        worker.request("echo", "x".repeat(100_000)),
        worker.request("reverse", null, { body, aside: true }),
      ];
      const settled = Promise.allSettled(requests);
      while (worker.pid === undefined) await sleep(1);
      await sleep(15 * moment);
      process.kill(worker.pid, "SIGKILL");
      // Those that it had not begun with are asked again of the next process.
      for (const outcome of await settled)
        if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(WorkerCrash);
    }
    await worker.close();
  });

  test("by an exit names the code and what the process said last", async () => {
    const error = await errorOf(start().request("exit", 7));
    expect(error).toMatchObject({ name: "WorkerCrash", code: 7 });
    expect(error.message).toBe(
      'the worker ended with exit code 7 (Error: the accelerator is on fire) while doing "exit"',
    );
  });

  test("is what unreadable messages and silence come to", async () => {
    const worker = start({ silence: SILENCE });
    expect((await errorOf(worker.request("garbage", null))).message).toMatch(
      /cannot be read: a (header|body) of \d+ bytes/,
    );
    expect(await worker.request("echo", 1)).toBe(1);
    expect((await errorOf(worker.request("hang", null))).message).toBe(
      `the worker gave no sign of life for ${SILENCE / 1000} s while doing "hang"`,
    );
    expect(await worker.request("echo", 2)).toBe(2);
  });

  test("does not follow from waiting: a worker that only waits gives signs of life", async () => {
    const stop = new AbortController();
    const request = start({ silence: SILENCE }).request("patient", null, { signal: stop.signal });
    await sleep(2.5 * SILENCE);
    stop.abort();
    expect(await request).toMatchObject({ status: "cancelled" });
  });
});

describe("a cancelled request", () => {
  test("may end well with what it has, or end", async () => {
    const worker = start();
    const pid = await worker.request("pid", null);
    const gentle = new AbortController();
    const result = worker.request("patient", null, { signal: gentle.signal, onEvent: () => gentle.abort() });
    expect(await result).toEqual({ status: "cancelled", done: "what there is" });
    const hard = new AbortController();
    const error = await errorOf(worker.request("obedient", null, { signal: hard.signal, onEvent: () => hard.abort() }));
    expect(error).toMatchObject({ kind: "cancelled" });
    expect(await worker.request("pid", null)).toBe(pid);
  });

  test("that does not listen ends with its process", async () => {
    const worker = start({ grace: 300 });
    const pid = await worker.request<number>("pid", null);
    const stop = new AbortController();
    const request = worker.request("deaf", null, { signal: stop.signal });
    setTimeout(() => stop.abort(), 100);
    expect(await errorOf(request)).toMatchObject({ kind: "cancelled" });
    expect(isGone(pid)).toBe(true);
    expect(await worker.request("echo", 1)).toBe(1);
  });

  test("is heard by a handler that never lets the event loop run", async () => {
    const worker = start();
    const pid = await worker.request("pid", null);
    const stop = new AbortController();
    const request = worker.request("busy", null, { signal: stop.signal, onEvent: () => stop.abort() });
    expect(await errorOf(request)).toMatchObject({ kind: "cancelled" });
    expect(await worker.request("pid", null)).toBe(pid);
  });

  test("that has not begun is not begun", async () => {
    const error = await errorOf(start().request("echo", 1, { signal: AbortSignal.abort() }));
    expect(error).toMatchObject({ kind: "cancelled" });
  });

  test("is what follows when its events cannot be taken", async () => {
    const worker = start();
    let taken = 0;
    const onEvent = () => {
      if (++taken === 3) throw new HeadscopeError("input", "the disk is full");
    };
    expect((await errorOf(worker.request("many", 100_000, { onEvent }))).message).toBe("the disk is full");
    expect(taken).toBe(3);
    expect(await worker.request("echo", 1)).toBe(1);
  });
});

describe("work for idle times", () => {
  let file: string;
  beforeEach(() => {
    file = join(mkdtempSync(join(tmpdir(), "headscope-idle-")), "notes");
  });
  afterEach(() => rmSync(dirname(file), { recursive: true }));
  const untilNotes = async (notes: string) => {
    while (!existsSync(file) || readFileSync(file, "utf8") !== notes) await sleep(10);
  };

  test("is done after the answer", async () => {
    await start().request("lazy", { file, forever: false });
    expect(existsSync(file)).toBe(false);
    await untilNotes("begun done");
  });

  test("makes way for a request, and is not begun where one follows at once", async () => {
    const worker = start();
    await worker.request("lazy", { file, forever: true });
    await untilNotes("begun ");
    expect(await worker.request("echo", 1)).toBe(1);
    await untilNotes("begun stopped");
    await worker.request("lazy", { file, forever: true });
    expect(await worker.request("echo", 2)).toBe(2);
    await sleep(400);
    expect(readFileSync(file, "utf8")).toBe("begun stopped");
  });
});

describe("a worker process", () => {
  test.skipIf(process.platform === "win32")(
    "that cannot be started for want of file descriptors fails its request alone, and the next one has them",
    async () => {
      const script = await bundleScript("crowded-script");
      const run = promisify(execFile);
      const line = 'ulimit -n 1000; exec "$0" "$@"';
      const { stdout } = await run("bash", ["-c", line, process.execPath, script, handlers]);
      expect(JSON.parse(stdout)).toEqual({ kind: "crashed", next: 2 });
    },
  );

  test.each(["deaf", "many", "hang"])("ends when its parent is killed (%s)", async (kind) => {
    const script = await bundleScript("worker-script");
    const parent = startScript(script, [handlers, kind]);
    const pid = Number(await parent.firstLine);
    expect(isGone(pid)).toBe(false);
    parent.child.kill("SIGKILL");
    await parent.ended;
    await untilGone(pid);
  });

  test("leaves Ctrl-C to its parent", async () => {
    const worker = start();
    const pid = await worker.request<number>("pid", null);
    process.kill(pid, "SIGINT");
    expect(await worker.request("pid", null)).toBe(pid);
  });

  test("ends with close, which fails what it was doing; nothing is done after it", async () => {
    const worker = start();
    const pid = await worker.request<number>("pid", null);
    const request = errorOf(worker.request("deaf", null));
    await sleep(50);
    await worker.close();
    expect((await request).message).toBe('the worker was closed while doing "deaf"');
    expect(isGone(pid)).toBe(true);
    await expect(worker.request("echo", 1)).rejects.toThrow("the worker is closed");
  });
});
