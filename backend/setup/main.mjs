// npm start, npm test, npm run bench: makes ready what the command needs, then runs it. Only Node's own modules are
// imported at the top: before the first step there is nothing else. Everything here is said on standard error.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundle } from "./build.mjs";
import { errorCode, SetupError } from "./failure.mjs";
import { cacheDir, removeLeftovers } from "./files.mjs";
import { withLock } from "./lock.mjs";
import { kernels } from "./native/kernels.mjs";
import { native } from "./native/native.mjs";
import { logTo, pending, runSteps, Screen, sideBySide } from "./runner.mjs";
import { dependencies } from "./steps/dependencies.mjs";
import { model } from "./steps/model.mjs";
import { nodeVersion } from "./steps/node-version.mjs";
import { problems, report } from "./terminal.mjs";
import { web } from "./web.mjs";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
// The model comes over the network while the kernels are compiled.
const STEPS = [nodeVersion, dependencies, bundle, web, native, sideBySide([model, kernels])];

const VITEST = join(ROOT, "node_modules/vitest/vitest.mjs");

/** The models that test/models compares are fetched by people who ask for it, never by npm test. */
const ALL_BUT_MODELS = ["--project", "!models"];

/**
 * Folders that `--changed` chooses from: tests that import what they test. Those that start programs, servers and browsers depend on
 * nearly every source, and run with the whole suite.
 */
const IMPORTING = ["test/unit/", "test/frontend/"];

/**
 * Arguments of Vitest that narrow npm test down, before those that were given: `--changed` may take the next word.
 * @param {string[]} args
 */
function narrowed(args) {
  const projects = args.some((arg) => arg.startsWith("--project")) ? [] : ALL_BUT_MODELS;
  const changed = args.some((arg) => /^--changed(=|$)/.test(arg)) && !args.some((arg) => arg.startsWith("test/"));
  return [...projects, ...(changed ? IMPORTING : [])];
}

/** Programs that the commands run once everything is ready. @type {Record<string, (args: string[]) => string[]>} */
const COMMANDS = {
  start: (args) => [join(ROOT, "dist/cli/main.js"), "start", ...args],
  test: (args) => [VITEST, "run", ...narrowed(args), ...args],
  "test:models": (args) => [VITEST, "run", "--project", "models", ...args],
  experiments: (args) => [join(ROOT, "dist/cli/main.js"), "experiment", "run-all", ...args],
  bench: (args) => [join(ROOT, "dist/bench.js"), ...args],
  "bench:cost": (args) => [join(ROOT, "dist/bench-cost.js"), ...args],
  "bench:ui": (args) => [join(ROOT, "dist/bench-ui.js"), ...args],
};

/** @param {AbortSignal} signal @param {boolean} verbose */
async function setUp(signal, verbose) {
  const cache = cacheDir();
  const screen = new Screen(problems);
  const nothing = () => {};
  const context = { root: ROOT, cache, env: process.env, signal, progress: nothing, skip: nothing, log: nothing };
  if ((await pending(STEPS, context)).length === 0) return;
  screen.say("headscope: setting up");
  const log = logTo(join(cache, "setup.log"), verbose);
  log(`\n--- ${new Date().toISOString()} in ${ROOT}, Node.js ${process.version}\n`);
  await withLock(
    join(ROOT, "dist", "setup.lock"),
    async () => {
      await removeLeftovers(join(ROOT, "dist"));
      await removeLeftovers(join(cache, "locks"));
      await runSteps(STEPS, { ...context, log }, screen);
    },
    { signal, onWait: (owner) => screen.say(`  waiting for ${owner}, which sets up the same folder`) },
  );
}

/**
 * Runs a program in the foreground: same terminal, its exit code is ours, and it gets our signals.
 * @param {string[]} args for Node.js
 * @returns {Promise<number>} exit code
 */
function foreground(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: ROOT, stdio: "inherit" });
    const forward = (/** @type {NodeJS.Signals} */ signal) => child.kill(signal);
    // a terminal sends Ctrl-C to the child too; it decides when to end, and we wait for it
    process.on("SIGINT", process.stdin.isTTY ? () => {} : forward);
    process.on("SIGTERM", forward);
    process.on("SIGHUP", forward);
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 1)));
  });
}

/** @param {unknown} error @returns {string} */
function remedyOf(error) {
  if (error instanceof SetupError && error.remedy) return error.remedy;
  const code = errorCode(error);
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR")
    return `make that folder writable, or set XDG_CACHE_HOME to one that is, and run again`;
  if (code === "ENOSPC") return "free some space (about 2 GB) or set XDG_CACHE_HOME to a larger disk, and run again";
  return "run again with --verbose to see more";
}

async function main() {
  const [command = "start", ...args] = process.argv.slice(2);
  const line = COMMANDS[command];
  if (!line) {
    void problems.line(
      `headscope: unknown set-up command "${command}"; it is one of ${Object.keys(COMMANDS).join(", ")}`,
    );
    return 2;
  }
  const verbose = args.includes("--verbose");
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  try {
    await setUp(controller.signal, verbose);
  } catch (error) {
    if (error instanceof SetupError && error.kind === "cancelled") {
      void problems.line("headscope: interrupted; run the same command again to go on");
      return 130;
    }
    if (verbose || !(error instanceof SetupError || errorCode(error)))
      report("headscope:", error); // a defect: all of it
    else void problems.line(`headscope: ${/** @type {Error} */ (error).message}`);
    void problems.line(`  what to do: ${remedyOf(error)}`);
    void problems.line(`  all that was said: ${join(cacheDir(), "setup.log")}`);
    return 1;
  } finally {
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
  return foreground(line(args));
}

process.exitCode = await main();
