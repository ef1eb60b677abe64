import { Worker as Thread } from "node:worker_threads";

/** Milliseconds between looks for the parent. */
const LOOK = 1_000;

/**
 * Ends this process when its parent has ended. A thread of its own sees that also while a computation or a native call holds
 * this one.
 */
export function endWithParent(): void {
  const watch = `const { workerData: parent } = require("node:worker_threads");
    setInterval(() => process.ppid !== parent && process.kill(process.pid, "SIGKILL"), ${LOOK});`;
  new Thread(watch, { eval: true, workerData: process.ppid }).unref();
}
