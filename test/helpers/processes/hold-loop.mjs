// Loaded before a command (node --import): holds its event loop as HOLD says once it listens to signals, a second later at the earliest.
import { writeSync } from "node:fs";

/** @type {Record<string, () => void>} */
const HOLDS = {
  /** JavaScript that never ends. */
  loop: () => {
    for (;;);
  },
  /** A regular expression that tries 2^60 ways. */
  pattern: () => void /^(a+)+$/.test(`${"a".repeat(60)}b`),
  /** A call into the system that does not return. */
  native: () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0),
};

function hold() {
  // A busy machine may need longer until the command listens to signals.
  if (process.listenerCount("SIGTERM") === 0) return void setTimeout(hold, 50);
  writeSync(2, "HELD\n");
  HOLDS[process.env["HOLD"] ?? "loop"]?.();
}

setTimeout(hold, 1_000);
