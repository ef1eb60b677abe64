import { availableParallelism } from "node:os";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { keepsCompiled } from "./test/helpers/runner/compiled.ts";
import { measuredPatience } from "./test/helpers/runner/patience.ts";
import { LongestFirst, pool } from "./test/helpers/runner/pool.ts";

/** Tests of the front end run with a document, and read Svelte's own files. */
const FRONTEND = "test/frontend/**/*.test.ts";

/** What hostile requests, files and hubs may not do: a project of its own, so that it can be run alone. */
const ATTACKS = "test/attacks/**/*.test.ts";

/** Comparisons that fetch a model of their own: only `npm run test:models` runs them. */
const MODELS = "test/models/**/*.test.ts";

/** No test may fail because the machine is busy: limits end what hangs, and grow with what else goes on here. */
const patience = measuredPatience();

const common = {
  pool: "forks" as const,
  setupFiles: ["test/helpers/runner/uncompiled.ts"],
  testTimeout: 120_000 * patience,
  hookTimeout: 120_000 * patience,
  expect: { poll: { timeout: 10_000 * patience } },
  env: { TF_CPP_MIN_LOG_LEVEL: "2", ...keepsCompiled(), HEADSCOPE_TEST_PATIENCE: String(patience) },
};

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
