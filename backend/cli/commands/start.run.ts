import { spawn } from "node:child_process";
import type { Context } from "../context.ts";
import { ReportedFailure } from "../errors.ts";
import { ENDS_WITH_PARENT } from "../second-signal.ts";
import { type ServeOptions, serve } from "./serve.run.ts";

interface StartOptions extends ServeOptions {
  readonly text: string;
  readonly out?: string;
  readonly serve: boolean;
  readonly open: boolean;
}

/** Serves while a process of its own does the main job; with --no-serve does the job here. */
export async function startJob(context: Context, options: StartOptions): Promise<void> {
  const { text, out } = options;
  if (!options.serve) {
    // The process that serves holds no model.
    const { mainJob } = await import("../start/start.ts");
    return mainJob(context, { text, out });
  }
  const rest = ["--text", text, ...(out === undefined ? [] : ["--out", out]), ...(context.json ? ["--json"] : [])];
  // With --json the document on standard output is the job's.
  const announce = (line: string) => (context.json ? context.note(line) : context.show(line));
  await serve(context, options, {
    announce: (_, line) => announce(line),
    open: options.open,
    async meanwhile(url) {
      await inOwnProcess(["start", "--no-serve", ...rest], context);
      await announce(`headscope is at ${url}`);
    },
  });
}

/**
 * Runs a command line of headscope in a process of its own, on the same terminal: the one that serves then holds no model.
 * @throws ReportedFailure with its exit code, after it has said why
 */
async function inOwnProcess(args: readonly string[], { verbose }: Context): Promise<void> {
  const words = [process.argv[1]!, ...args, ...(verbose ? ["--verbose"] : [])];
  // A second Ctrl-C ends this process at once, without a word to the child.
  const env = { ...process.env, [ENDS_WITH_PARENT]: "1" };
  const child = spawn(process.execPath, words, { stdio: "inherit", env });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  // A terminal sends Ctrl-C to both: told twice, the child would not tidy up.
  const signals: NodeJS.Signals[] = process.stdin.isTTY ? ["SIGTERM"] : ["SIGTERM", "SIGINT"];
  for (const signal of signals) process.on(signal, forward);
  try {
    const code = await new Promise<number>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve(code ?? 1));
    });
    if (code !== 0) throw new ReportedFailure(code);
  } finally {
    for (const signal of signals) process.off(signal, forward);
  }
}
