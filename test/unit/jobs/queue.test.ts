import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Queue } from "../../../backend/jobs/queue.ts";
import { type Job, type JobProgress, openStore, type Store } from "../../../backend/store/store.ts";
import { buildCli, ROOT } from "../../helpers/cli.ts";
import { refused } from "../../helpers/errors.ts";
import { bundleScript, startScript } from "../../helpers/processes/script.ts";

const worker = { handlers: join(ROOT, "test/helpers/processes/handlers.mjs") };
let script = "";
let folder = "";
let base = "";
let store: Store;
let queue: Queue;
let count = 0;
beforeAll(async () => {
  await buildCli();
  script = await bundleScript("store-script");
  base = await mkdtemp(join(tmpdir(), "headscope-queue-"));
  open();
});
afterEach(() => {
  store.close();
  open();
});
afterAll(async () => {
  store.close();
  await rm(base, { recursive: true, force: true });
});

function open(): void {
  folder = join(base, `home-${count++}`);
  store = openStore({ folder });
  queue = new Queue(store, { kinds: [], worker });
}

const statuses = () => store.jobs().map(({ status }) => status);

/** The number that another process says once it holds a job; the process is killed by the test. */
async function otherProcess(action: "claim" | "keep") {
  const other = startScript(script, [folder, action]);
  return { id: Number(await other.firstLine), other };
}

async function kill({ child, ended }: ReturnType<typeof startScript>): Promise<void> {
  child.kill("SIGKILL");
  await ended;
}

describe("a job", () => {
  test("is worked on, and keeps its result and its progress", async () => {
    const { id } = queue.add("echo", { x: 1 });
    expect(store.job(id)).toMatchObject({ status: "queued", attempts: 0, kind: "echo", spec: { x: 1 } });
    const ended: Job[] = [];
    await queue.work({ onEnd: (job) => ended.push(job) });
    expect(store.job(id)).toMatchObject({ status: "done", result: { x: 1 }, attempts: 1 });
    expect(ended).toEqual([store.job(id)]);
    expect(store.job(id)).not.toHaveProperty("owner");
  });

  test("that fails says why in one line, is not tried again, and stops nobody", async () => {
    const { id } = queue.add("fail", { message: "the loss is no number at step 7" });
    queue.add("echo", 1);
    const errors: unknown[] = [];
    await queue.work({ onEnd: (_, error) => errors.push(error) });
    expect(store.job(id)).toMatchObject({ status: "failed", error: "the loss is no number at step 7", attempts: 1 });
    expect(statuses()).toEqual(["failed", "done"]);
    expect(errors).toEqual([expect.objectContaining({ message: "the loss is no number at step 7" }), undefined]);
  });

  test.each([
    [1, { status: "done", result: { begun: 2 }, attempts: 2 }],
    [
      2,
      {
        status: "failed",
        attempts: 2,
        error: expect.stringMatching(/^the worker ended by SIGKILL while doing "crashFirst"; .* run again$/),
      },
    ],
  ])("whose worker crashes is tried once more (%i crashes)", async (times, expected) => {
    const { id } = queue.add("crashFirst", { file: join(folder, "begun"), times });
    await queue.work();
    expect(store.job(id)).toMatchObject(expected);
  });

  test("that waits is cancelled at once, and resumed", async () => {
    const { id } = queue.add("echo", 5);
    expect(queue.cancel(id).status).toBe("cancelled");
    await queue.work();
    expect(statuses()).toEqual(["cancelled"]);
    queue.resume(id);
    await queue.work();
    expect(store.job(id)).toMatchObject({ status: "done", result: 5 });
    expect(() => queue.resume(id)).toThrow(refused("usage"));
    expect(() => queue.cancel(9)).toThrow(expect.objectContaining({ kind: "usage", subject: "9" }));
  });

  test("that runs is cancelled by another process on the same folder", async () => {
    const { id } = queue.add("patient", null);
    const other = openStore({ folder });
    const told: JobProgress[] = [];
    await queue.work({
      onProgress: (_, progress) => {
        told.push(progress);
        expect(new Queue(other, { kinds: [] }).cancel(id)).toMatchObject({ status: "running", cancel: true });
        expect(() => new Queue(other, { kinds: [] }).resume(id)).toThrow(
          /job 1 is being worked on by process \d+ \(job 1\)/,
        );
      },
    });
    other.close();
    expect(told).toEqual([{ done: 1, total: 2, label: "waiting" }]);
    expect(store.job(id)).toMatchObject({
      status: "cancelled",
      progress: { done: 1, total: 2 },
      result: { done: "what there is" },
    });
  });

  test.each(["cancelled", "queued"] as const)("that is stopped with its queue is %s", async (whenStopped) => {
    const { id } = queue.add("obedient", null);
    const waiting = queue.add("echo", 1);
    const stop = new AbortController();
    await queue.work({ signal: stop.signal, whenStopped, onEvent: () => stop.abort() });
    expect(store.job(id).status).toBe(whenStopped);
    expect(store.job(waiting.id).status).toBe("queued");
  });
});

describe("a queue", () => {
  test("works on as many jobs at once as it is told, with the cores shared out", async () => {
    const [a, b] = [join(folder, "a"), join(folder, "b")];
    queue.add("meet", { mine: a, theirs: b });
    queue.add("meet", { mine: b, theirs: a });
    await queue.work({ concurrency: 2 });
    expect(statuses()).toEqual(["done", "done"]);
    expect(store.jobs().map(({ result }) => Number(result) >= 1)).toEqual([true, true]);
  });

  test("goes on waiting for jobs until it is stopped", async () => {
    const stop = new AbortController();
    const work = queue.work({ poll: 20, signal: stop.signal, onEnd: ({ spec }) => spec === "last" && stop.abort() });
    queue.add("echo", "first");
    setTimeout(() => queue.add("echo", "last"), 100);
    await work;
    expect(statuses()).toEqual(["done", "done"]);
  });

  test("puts back the jobs of dead processes, and leaves those of living ones", async () => {
    const { id } = queue.add("echo", 1);
    const { other } = await otherProcess("claim");
    expect(store.shownJobStatus(store.job(id))).toBe("running");
    await queue.work();
    expect(store.job(id).status).toBe("running");
    await kill(other);
    expect(store.shownJobStatus(store.job(id))).toBe("interrupted");
    await queue.work();
    expect(store.job(id)).toMatchObject({ status: "done", attempts: 2 });
  });

  test("leaves alone what is kept for a living process, and takes it over after its death", async () => {
    const { id, other } = await otherProcess("keep");
    await queue.work();
    expect(store.job(id).status).toBe("queued");
    expect(() => queue.resume(id)).toThrow(refused("usage"));
    await kill(other);
    await queue.work();
    expect(store.job(id).status).toBe("done");
  });

  test("stops its job when the store fails, and says why", async () => {
    queue = new Queue(store, {
      worker,
      kinds: [
        {
          name: "many",
          title: () => "many events",
          apply() {
            throw new Error("the disk is full");
          },
        },
      ],
    });
    const { id } = queue.add("many", 1_000_000);
    await expect(queue.work()).rejects.toThrow("the disk is full");
    expect(store.job(id)).toMatchObject({ status: "failed", error: "the disk is full" });
  });

  test("does not begin with jobs that it was not asked for", async () => {
    queue.add("echo", 1);
    const second = queue.add("echo", 2);
    await queue.work({ only: [second.id] });
    expect(statuses()).toEqual(["queued", "done"]);
  });

  test("tells of an event when the store has it", async () => {
    const stored: unknown[] = [];
    const apply = (_: Store, __: Job, events: readonly unknown[]) => void stored.push(...events);
    queue = new Queue(store, { worker, kinds: [{ name: "many", title: () => "many events", apply }] });
    queue.add("many", 3);
    let told = 0;
    await queue.work({ onEvent: (_, event) => expect(stored[told++]).toEqual(event) });
    expect(stored).toEqual([{ i: 0 }, { i: 1 }, { i: 2 }]);
    expect(told).toBe(3);
  });
});
