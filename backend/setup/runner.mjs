import { appendFileSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { SetupError } from "./failure.mjs";
import { mark, problems } from "./terminal.mjs";

/**
 * @typedef {object} Context what a step may use
 * @property {string} root folder of the repository
 * @property {string} cache folder of what can be fetched again
 * @property {NodeJS.ProcessEnv} env
 * @property {AbortSignal | undefined} signal aborted when the user interrupts
 * @property {(detail: string) => void} progress what the step is doing now
 * @property {(line: string) => void} skip says in one line that the step is left out, and why
 * @property {(text: string) => void} log everything that tools say: to the log file, and to the screen when verbose
 */

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {(context: Context) => string | false | Promise<string | false>} needed why it must run, or false; quick
 * @property {(context: Context) => Promise<void>} run safe to interrupt and to run again
 */

/**
 * The steps that have something to do, with the reason.
 * @param {readonly Step[]} steps
 * @param {Context} context
 */
export async function pending(steps, context) {
  const out = [];
  for (const step of steps) {
    const why = await step.needed(context);
    if (why !== false) out.push({ step, why });
  }
  return out;
}

/**
 * Runs the steps that have something to do, in order; one line for each of them.
 * @param {readonly Step[]} steps
 * @param {Context} context
 * @param {Screen} screen
 * @throws {SetupError} of the first step that failed, named by it
 */
export async function runSteps(steps, context, screen) {
  for (const step of steps) {
    const why = await step.needed(context);
    if (why === false) continue;
    const line = screen.begin(step.name, why);
    try {
      await step.run({ ...context, progress: line.progress, skip: line.skip });
      line.done();
    } catch (error) {
      line.fail();
      if (!(error instanceof SetupError)) throw error;
      const named = new SetupError(error.kind, `${step.name}: ${error.message}`, { cause: error.cause });
      named.remedy = error.remedy;
      throw named;
    }
  }
}

/**
 * One step of several that need different things of the machine, such as its network and its processors: they run side by side.
 * The first that fails stops the others.
 * @param {readonly Step[]} steps
 * @returns {Step}
 */
export function sideBySide(steps) {
  let named = steps;
  return {
    /** The steps that had something to do when they were last asked, or all. */
    get name() {
      return named.map(({ name }) => name).join(", ");
    },
    async needed(context) {
      const open = await pending(steps, context);
      if (open.length === 0) return false;
      named = open.map(({ step }) => step);
      return [...new Set(open.map(({ why }) => why))].join(", ");
    },
    async run(context) {
      const open = await pending(steps, context);
      const controller = new AbortController();
      const stop = () => controller.abort();
      context.signal?.addEventListener("abort", stop, { once: true });
      /** @type {Map<Step, string>} */
      const details = new Map();
      /** @type {string[]} */
      const skipped = [];
      try {
        if (context.signal?.aborted) stop();
        const runs = open.map(async ({ step }) => {
          const progress = (/** @type {string} */ detail) => {
            details.set(step, detail);
            context.progress([...details.values()].join("; "));
          };
          const skip = (/** @type {string} */ line) => {
            skipped.push(line);
            context.skip(skipped.join("\n  "));
          };
          try {
            await step.run({ ...context, signal: controller.signal, progress, skip });
          } catch (error) {
            stop();
            throw error;
          } finally {
            details.delete(step);
          }
        });
        const results = await Promise.allSettled(runs);
        const errors = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
        // Those that were stopped say so; the one that failed says why.
        const first = errors.find((error) => !(error instanceof SetupError && error.kind === "cancelled")) ?? errors[0];
        if (first) throw first;
      } finally {
        context.signal?.removeEventListener("abort", stop);
      }
    },
  };
}

/** Milliseconds between two lines of a step off a terminal, where nothing can be renewed. */
const PLAIN_INTERVAL = 3_000;

/** Progress for people: on a terminal one line that renews itself, elsewhere lines: one as a step begins, more while it lasts, one as it ends. */
export class Screen {
  /**
   * @param {{ write(text: string): unknown, isTTY?: boolean | undefined }} stream
   * @param {number} interval milliseconds between two lines off a terminal
   */
  constructor(stream, interval = PLAIN_INTERVAL) {
    this.stream = stream;
    this.interval = interval;
  }

  /** @param {string} text a whole line */
  say(text) {
    this.stream.write(`${text}\n`);
  }

  /**
   * @param {string} name of the step
   * @param {string} why it runs
   */
  begin(name, why) {
    const { stream } = this;
    const live = stream.isTTY === true;
    const start = performance.now();
    let detail = why;
    let skipped = "";
    const elapsed = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    const draw = () => {
      const line = `  ${name}: ${detail} (${elapsed()})`;
      stream.write(live ? `${mark("newLine")}${line}` : `${line}\n`);
    };
    const timer = setInterval(draw, live ? 200 : this.interval);
    const end = (/** @type {string} */ text) => {
      clearInterval(timer);
      stream.write(`${live ? mark("newLine") : ""}${text}`);
    };
    if (live) draw();
    else stream.write(`  ${name}: ${why}\n`);
    return {
      /** @param {string} text */
      progress(text) {
        detail = text;
        if (live) draw();
      },
      /** @param {string} text */
      skip(text) {
        skipped = text;
      },
      done: () => end(skipped === "" ? `  ${name}: ready (${elapsed()}; was ${why})\n` : `  ${skipped}\n`),
      fail: () => end(""),
    };
  }
}

/**
 * A log that keeps what tools say, in a file in the cache.
 * @param {string} path
 * @param {boolean} verbose also to standard error
 * @returns {(text: string) => void}
 */
export function logTo(path, verbose) {
  mkdirSync(dirname(path), { recursive: true });
  return (text) => {
    appendFileSync(path, text);
    if (verbose) void problems.write(text);
  };
}
