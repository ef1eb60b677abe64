// What another process does with a store, for the tests: store-script.mjs FOLDER ACTION [argument]
import { existsSync } from "node:fs";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { runsFor } from "../../../../backend/jobs/reuse.ts";
import { openStore } from "../../../../backend/store/store.ts";
import { trainSpec } from "../../training/specs.ts";

const [, , folder, action, argument = ""] = process.argv;

const actions: Record<string, () => void> = {
  /** Writes 200 batches of measurements, one transaction each, to a run. */
  write() {
    const store = openStore({ folder: folder! });
    for (let step = 0; step < 200; step++) store.addMetrics(argument, step, { loss: step / 3, accuracy: step / 7 });
    store.close();
  },
  /** Dies in the middle of a transaction. */
  die() {
    const store = openStore({ folder: folder! });
    store.transaction(() => {
      store.addMetrics(argument, 0, { loss: 2 });
      store.addMetrics(argument, 1, { loss: 1 });
      process.kill(process.pid, "SIGKILL");
    });
  },
  /** Makes many runs. */
  create() {
    const store = openStore({ folder: folder! });
    const spec = trainSpec({ task: argument!, training: { steps: 1 } });
    console.log(Array.from({ length: 40 }, () => store.createRuns(spec, [0])[0]!.id).join(" "));
    store.close();
  },
  /** Once a file is there, asks for the run of each of many seeds, one after another. */
  reuse() {
    const store = openStore({ folder: folder! });
    console.log("ready");
    while (!existsSync(argument));
    const spec = trainSpec({ training: { steps: 1 } });
    for (let seed = 0; seed < 60; seed++) runsFor(store, [spec], [seed]);
    store.close();
  },
  /** Begins on the next job, says which, and waits to be killed. */
  claim() {
    const store = openStore({ folder: folder! });
    console.log(store.claimJob()?.id);
    setInterval(() => {}, 1_000);
  },
  /** Adds a job that is kept for this process, says which, and waits to be killed. */
  keep() {
    const store = openStore({ folder: folder! });
    console.log(store.addJob("echo", "kept", { keep: true }).id);
    setInterval(() => {}, 1_000);
  },
  /** Opens the store. */
  open() {
    openStore({ folder: folder! }).close();
    console.log("opened");
  },
};

try {
  actions[action!]!();
} catch (error) {
  if (!(error instanceof HeadscopeError)) throw error;
  console.error(error.line);
  process.exitCode = error.exitCode;
}
