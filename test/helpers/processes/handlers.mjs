// Handlers for the tests of workers and queues: what a worker does well, badly and not at all.
import { spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { z } from "zod";

/** @import { Handler, HandlerContext, Handlers } from "../../../backend/workers/handler.ts" */
/** @import { TrainPayload } from "../../../backend/jobs/kinds/train.ts" */

/** @param {number} milliseconds holds the process, as a native call does */
function block(milliseconds) {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** @param {AbortSignal} signal */
async function untilAborted(signal) {
  while (!signal.aborted) await sleep(5);
}

/** @type {Record<string, Handler["run"]>} */
const handle = {
  async echo(payload) {
    return payload;
  },
  /** The request's body, reversed, as events of one byte and as a whole. */
  async reverse(_, { body, emit }) {
    const reversed = Uint8Array.from(body).reverse();
    for (const byte of reversed.subarray(0, 10)) await emit({ byte }, Uint8Array.of(byte));
    return Object.assign(Object.create(null), { reply: reversed.length });
  },
  async noise(payload) {
    for (let i = 0; i < 200; i++) process.stdout.write("a library prints, also bytes: \x00\xff\x10\n");
    console.error("and warns");
    return payload;
  },
  async fail(payload) {
    const { code, path, message } = /** @type {{ code?: string, path?: string, message: string }} */ (payload);
    throw Object.assign(new Error(message), code === undefined ? {} : { code }, path === undefined ? {} : { path });
  },
  async pid() {
    return process.pid;
  },
  async kill(payload, { emit }) {
    await emit({ before: "the end" });
    process.kill(process.pid, /** @type {NodeJS.Signals} */ (payload));
    return sleep(60_000, undefined);
  },
  /** Leaves a process behind that holds what this one prints to, and dies. */
  async orphan(_, { emit }) {
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 120_000)"], {
      stdio: ["ignore", "inherit", "inherit"],
      detached: true,
    });
    await emit({ orphan: child.pid });
    process.kill(process.pid, "SIGKILL");
    return sleep(60_000, undefined);
  },
  async exit(payload) {
    console.error("Error: the accelerator is on fire\n  at somewhere");
    process.exit(/** @type {number} */ (payload));
  },
  async garbage() {
    // Not through the protocol: straight into its pipe.
    writeFileSync(4, "these are no frames");
    return sleep(60_000, undefined);
  },
  async hang() {
    block(600_000);
  },
  /** Works without ever letting the event loop run, as native calls one after the other do. */
  async busy(_, { signal, emit }) {
    void emit("begun");
    for (;;) {
      block(5);
      signal.throwIfAborted();
    }
  },
  /** Leaves work for idle times, which notes in a file what became of it. */
  async lazy(payload, { later }) {
    const { file, forever } = /** @type {{ file: string, forever: boolean }} */ (payload);
    later(async (signal) => {
      appendFileSync(file, "begun ");
      try {
        while (forever) {
          block(5);
          signal.throwIfAborted();
        }
        appendFileSync(file, "done");
      } catch (error) {
        appendFileSync(file, "stopped");
        throw error;
      }
    });
  },
  async deaf() {
    return sleep(600_000, undefined);
  },
  async patient(_, { signal, emit }) {
    await emit({ event: "progress", done: 1, total: 2, label: "waiting" });
    await untilAborted(signal);
    return { status: "cancelled", done: "what there is" };
  },
  async obedient(_, { signal, emit }) {
    await emit("begun");
    await untilAborted(signal);
    signal.throwIfAborted();
  },
  /** Works in steps that hold the process, and lets others in between them, until the file is there; dies at the end if asked to. */
  async steps(payload, { emit, turn }) {
    const { file, die } = /** @type {{ file: string, die?: boolean }} */ (payload);
    for (let done = 1; !existsSync(file); done++) {
      block(5);
      await turn();
      void emit({ event: "progress", done, total: 0 });
    }
    if (die) process.kill(process.pid, "SIGKILL");
    return "done";
  },
  async write(payload) {
    writeFileSync(/** @type {string} */ (payload), "");
  },
  async many(payload, { emit, signal }) {
    for (let i = 0; i < /** @type {number} */ (payload) && !signal.aborted; i++) {
      await emit({ i });
      await sleep(1);
    }
    return "all";
  },
  /** Notes that it was begun in a file; dies as often as asked, then gives how often it was begun. */
  async crashFirst(payload) {
    const { file, times } = /** @type {{ file: string, times: number }} */ (payload);
    appendFileSync(file, "x");
    const begun = readFileSync(file, "utf8").length;
    if (begun <= times) process.kill(process.pid, "SIGKILL");
    return begun <= times ? sleep(60_000, undefined) : { begun };
  },
  /** Ends when the file of its partner is there: only two that run at once do. */
  async meet(payload) {
    const { mine, theirs } = /** @type {{ mine: string, theirs: string }} */ (payload);
    writeFileSync(mine, "");
    while (!existsSync(theirs)) await sleep(5);
    return process.env["TF_NUM_INTRAOP_THREADS"];
  },
};

/**
 * A training whose loss at a step is a function of all that came before: the state of a checkpoint, and the step.
 * @type {Handler["run"]}
 */
async function train(payload, { emit, signal }) {
  const { spec, runs, resume, from = 0 } = /** @type {TrainPayload} */ (payload);
  const { steps } = spec.training;
  const {
    dieAt,
    once,
    failAt,
    pace = 1,
  } = /** @type {{ dieAt?: number, once?: string, failAt?: number, pace?: number }} */ (spec.params);
  const states = runs.map((run) => (resume ? Number(readFileSync(fileOf(run, from), "utf8")) : 1 / (run.seed + 3)));
  let step = from;
  const save = async () => {
    for (const [i, run] of runs.entries()) {
      const file = fileOf(run, step);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(`${file}.part`, String(states[i]));
      renameSync(`${file}.part`, file);
      await emit({ event: "checkpoint", run: run.id, step, file, bytes: 8, digest: "none" });
    }
  };
  if (!resume) await save();
  while (step < steps) {
    if (signal.aborted) break;
    step++;
    for (const [i, run] of runs.entries()) {
      const state = states[i] ?? 0;
      states[i] = 3.9 * state * (1 - state); // chaotic: one wrong bit is seen
      await emit({ event: "metrics", run: run.id, step, values: { loss: states[i] } });
    }
    void emit({ event: "progress", done: step, total: steps, label: "training", values: { loss: states[0] } });
    if (step === failAt) throw new Error(`no number at step ${step}`);
    if (step === dieAt && !(once !== undefined && existsSync(once))) {
      if (once !== undefined) writeFileSync(once, "");
      process.kill(process.pid, "SIGKILL");
      await sleep(60_000);
    }
    if (step % 10 === 0) await save();
    await sleep(pace);
  }
  if (signal.aborted && step % 10 !== 0) await save();
  const status = step < steps ? "cancelled" : "done";
  for (const { id } of runs) await emit({ event: "status", run: id, status, step });
  return { step, status };
}

/** @param {{ id: string, folder: string }} run @param {number} step */
function fileOf({ id, folder }, step) {
  return join(folder, "runs", id, `step-${String(step).padStart(9, "0")}.safetensors`);
}

/** @type {Handlers} */
export const handlers = Object.fromEntries(
  Object.entries({ ...handle, train }).map(([name, each]) => [
    name,
    async () => ({ request: { payload: z.unknown(), run: each } }),
  ]),
);
