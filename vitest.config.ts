import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { measuredPatience } from "./test/helpers/patience.ts";
import { LongestFirst, pool } from "./test/helpers/pool.ts";

/** Tests of the front end run with a document, and read Svelte's own files. */
const FRONTEND = "test/frontend/**/*.test.ts";

/** What hostile requests, files and hubs may not do: a project of its own, so that it can be run alone. */
const ATTACKS = "test/attacks/**/*.test.ts";

/** Comparisons that fetch a model of their own: only `npm run test:models` runs them. */
const MODELS = "test/models/**/*.test.ts";

/** No test may fail because the machine is busy: limits end what hangs, and grow with what else goes on here. */
const patience = measuredPatience();

/**
 * Functions that TensorFlow has compiled, shared by all processes of a run: most tests and programs need the same ones, and
 * compiling takes more time than all the rest. TensorFlow takes one from here where its whole graph is the same, and writes
 * of each as of an error, which is of level 2, that it was compiled elsewhere.
 */
const compiled = mkdtempSync(join(tmpdir(), "headscope-compiled-"));
process.on("exit", () => rmSync(compiled, { recursive: true, force: true }));

const common = {
  pool: "forks",
  testTimeout: 120_000 * patience,
  hookTimeout: 120_000 * patience,
  expect: { poll: { timeout: 10_000 * patience } },
  env: {
    TF_CPP_MIN_LOG_LEVEL: "3",
    TF_XLA_FLAGS: `--tf_xla_persistent_cache_directory=${compiled} --tf_xla_persistent_cache_device_types=CPU`,
    HEADSCOPE_TEST_PATIENCE: String(patience),
  },
} as const;

export default defineConfig({
  test: {
    // One more than there are processors: many files wait for a program, a browser or a limit.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...common,
          pool,
          isolate: false,
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: [FRONTEND, ATTACKS, MODELS],
        },
      },
      { test: { ...common, name: "attacks", include: [ATTACKS] } },
      {
        test: {
          ...common,
          name: "models",
          include: [MODELS],
          testTimeout: 600_000 * patience,
          hookTimeout: 600_000 * patience,
        },
      },
      {
        plugins: [svelte({ configFile: "frontend/svelte.config.js" })],
        resolve: { conditions: ["browser"] },
        test: { ...common, name: "frontend", include: [FRONTEND], environment: "happy-dom" },
      },
    ],
  },
});
