// npm run check: every static check, side by side. Exit code 0 when all pass.
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SetupError } from "../failure.mjs";
import { cacheDir } from "../files.mjs";
import { runProcess } from "../process.mjs";
import { dependencies, dependenciesNeeded } from "../steps/dependencies.mjs";
import { output, problems } from "../terminal.mjs";
import { checkHouse } from "./house.mjs";
import { checkLayers } from "./layers.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const MODULES = join(ROOT, "node_modules");

/**
 * @typedef {object} Check
 * @property {string} name
 * @property {string} mend what to do when it fails
 * @property {() => Promise<string>} run "" when it passes, else what is wrong
 */

/** @param {string} script in node_modules @param {string[]} args */
async function tool(script, ...args) {
  const { code, output } = await runProcess(process.execPath, [join(MODULES, script), ...args], { cwd: ROOT });
  return code === 0 ? "" : output.trim() || `exit code ${code}`;
}

/** @type {readonly Check[]} */
const CHECKS = [
  {
    name: "format and lint",
    mend: "npx biome check --write mends most of it",
    run: () => tool("@biomejs/biome/bin/biome", "check", "--colors=off"),
  },
  {
    name: "format of components",
    mend: 'npx prettier --write "frontend/**/*.svelte" mends it',
    run: () =>
      tool("prettier/bin/prettier.cjs", "--check", "--log-level=warn", "frontend/**/*.svelte", "test/helpers/*.svelte"),
  },
  { name: "types", mend: "npx tsc shows them", run: () => tool("typescript/bin/tsc", "--noEmit", "--pretty", "false") },
  {
    name: "components",
    mend: "npx svelte-check --tsconfig frontend/tsconfig.json shows them",
    run: () =>
      tool(
        "svelte-check/bin/svelte-check",
        "--tsconfig",
        "frontend/tsconfig.json",
        "--fail-on-warnings",
        "--output",
        "human",
      ),
  },
  {
    name: "direction of imports",
    mend: "the layers are in backend/setup/check/layers.mjs",
    run: async () => checkLayers(ROOT).join("\n"),
  },
  {
    name: "rules of the house",
    mend: "circles, crowded folders, long parameter lists, riddles: backend/setup/check/house.mjs",
    run: async () => checkHouse(ROOT).join("\n"),
  },
];

/** @returns {Promise<number>} how many checks failed */
async function main() {
  if (dependenciesNeeded(ROOT) !== false) {
    void problems.line("check: installing the dependencies");
    const nothing = () => {};
    const context = { root: ROOT, cache: cacheDir(), env: process.env, signal: undefined };
    await dependencies.run({ ...context, progress: nothing, skip: nothing, log: nothing });
  }
  const start = performance.now();
  const results = await Promise.all(
    CHECKS.map(async (check) => {
      const wrong = await check.run();
      return { check, wrong, seconds: (performance.now() - start) / 1000 };
    }),
  );
  for (const { check, wrong } of results) if (wrong) void output.line(`--- ${check.name}\n${wrong}\n`);
  for (const { check, wrong, seconds } of results)
    void output.line(
      `${wrong ? "FAILED" : "ok    "}  ${check.name} (${seconds.toFixed(1)} s)${wrong ? `: ${check.mend}` : ""}`,
    );
  return results.filter(({ wrong }) => wrong).length;
}

try {
  process.exitCode = (await main()) === 0 ? 0 : 1;
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  void problems.line(`check: ${error.message}${error.remedy ? `; ${error.remedy}` : ""}`);
  process.exitCode = 1;
}
