import { CommanderError } from "commander";
import { HeadscopeError } from "../common/errors.ts";
import { output, problems, report } from "../setup/terminal.mjs";
import type { CommonOptions, Context, Runner } from "./context.ts";
import { INTERRUPTED, isCancelled, lineOf, ReportedFailure } from "./errors.ts";
import { createProgram } from "./program.ts";
import type { Progress } from "./progress.ts";
import { endAtSecondSignal } from "./second-signal.ts";

/**
 * Runs one command line.
 * @param args without the program's name
 * @returns exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted
 */
export async function run(args: readonly string[]): Promise<number> {
  const controller = new AbortController();
  let verbose = args.includes("--verbose");
  let end = () => {};
  const interrupt = (signal: NodeJS.Signals) => {
    // A second Ctrl-C does not wait for anything to be tidied up.
    if (controller.signal.aborted) process.exit(exitCodeOf(signal));
    controller.abort(new HeadscopeError("cancelled", "interrupted", { remedy: "nothing half-written was left" }));
    process.exitCode = exitCodeOf(signal);
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  endAtSecondSignal();
  const runner: Runner = async (options, work) => {
    verbose = options.verbose === true;
    const context = await createContext(options, controller.signal);
    end = context.progress.end;
    await work(context);
    end();
  };
  try {
    await createProgram(args, runner).parseAsync(args as string[], { from: "user" });
    return 0;
  } catch (error) {
    end();
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // help was shown: asked for, or for want of a command
    // An interrupted child says nothing of SIGTERM, which only this process was sent.
    if (error instanceof ReportedFailure) return controller.signal.aborted ? Number(process.exitCode) : error.exitCode;
    if (controller.signal.aborted && (isCancelled(error) || error === controller.signal.reason)) {
      await problems.line("headscope: interrupted");
      return Number(process.exitCode ?? INTERRUPTED);
    }
    await problems.line(`headscope: ${lineOf(error)}`);
    if (verbose) report("", error);
    return error instanceof HeadscopeError ? error.exitCode : 1;
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
  }
}

function exitCodeOf(signal: NodeJS.Signals): number {
  return signal === "SIGTERM" ? 143 : INTERRUPTED;
}

async function createContext({ json = false, verbose = false }: CommonOptions, signal: AbortSignal): Promise<Context> {
  const progress = await lazyProgress();
  return {
    json,
    verbose,
    signal,
    progress,
    note: (line) => progress.say(line),
    async show(text) {
      progress.end();
      if (!json) await output.line(text);
    },
    async print(document, text) {
      progress.end();
      if (!json) return output.line(text());
      const { formatJson } = await import("../json.ts");
      return output.json(formatJson(document));
    },
  };
}

async function lazyProgress(): Promise<Progress> {
  const { createProgress } = await import("./progress.ts");
  return createProgress(problems);
}
