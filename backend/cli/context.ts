import type { Command } from "commander";
import type { Progress } from "./progress.ts";

/** What every command is given beside its own options. */
export interface Context {
  /** Whether standard output holds one JSON document and nothing else. */
  readonly json: boolean;
  /** Whether errors show their stack. */
  readonly verbose: boolean;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly progress: Progress;
  /** Writes the result to standard output: the document with --json, else the text. Called once. */
  print(document: unknown, text: () => string): Promise<void>;
  /** Writes a part of a long result to standard output as soon as it is known; nothing with --json. */
  show(text: string): Promise<void>;
  /** Writes a line for people to standard error. */
  note(line: string): void;
}

/** Options that every command has. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly verbose?: boolean;
}

/**
 * What a command does. Whatever is slow to load it imports itself, so that --help need not wait for it.
 * @param args the command's positional arguments
 */
export type Implementation<O> = (context: Context, options: O, ...args: string[]) => Promise<void>;

/** Runs an implementation with a context; `main.ts` supplies it. */
export type Runner = (options: CommonOptions, work: (context: Context) => Promise<void>) => Promise<void>;

let runner: Runner | undefined;

/** Sets what runs the actions of this process's commands. */
export function useRunner(run: Runner): void {
  runner = run;
}

/** Finishes a command: the options that all commands have, and what it does. */
export function runs<O extends object>(command: Command, implementation: Implementation<O>): Command {
  return command
    .option("--json", "print one JSON document")
    .option("--verbose", "show where errors come from")
    .action(async (...received: unknown[]) => {
      const args = received.slice(0, command.registeredArguments.length) as string[];
      const options = command.optsWithGlobals<O & CommonOptions>();
      if (!runner) throw new Error("no runner for commands");
      await runner(options, (context) => implementation(context, options, ...args));
    });
}
