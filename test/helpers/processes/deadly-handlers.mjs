// Handlers of a worker whose models are files that may end it: what a file holds is what opening it does.
import { appendFileSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

import { z } from "zod";

/** @import { Handler, Handlers } from "../../../backend/workers/handler.ts" */

async function die() {
  process.kill(process.pid, "SIGKILL");
  return sleep(60_000, undefined);
}

/** @type {Record<string, Handler["run"]>} */
const handle = {
  /** Opens a model, and notes it with the process that did. */
  async describe(payload) {
    const { model } = /** @type {{ model: string }} */ (payload);
    appendFileSync(process.env["LOG"] ?? "", `${process.pid} ${model}\n`);
    const does = readFileSync(model, "utf8");
    return does === "kill" ? die() : does;
  },
  async echo(payload) {
    return payload;
  },
  kill: die,
  /** Answers, and dies of work that it left for later, which a request has to wait for. */
  async dieLater(_, { later }) {
    later(async () => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
      await die();
    });
  },
};

/** @type {Handlers} */
export const handlers = Object.fromEntries(
  Object.entries(handle).map(([name, each]) => [name, async () => ({ request: { payload: z.unknown(), run: each } })]),
);
