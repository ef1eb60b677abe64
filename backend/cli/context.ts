import type { Command } from "commander";
import type { Progress } from "./progress.ts";

/** Surroundings of a command beside its own options. */
export interface Context {
  /** True when standard output holds one JSON document and nothing else. */
  readonly json: boolean;
  /** True when errors show their stack. */
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
 * Does the work of a command.
 * @param args the command's positional arguments, those of a list one after the other
 */
export type Implementation<O> = (context: Context, options: O, ...args: string[]) => Promise<void>;

/** Runs an implementation with a context of this process. */
export type Runner = (options: CommonOptions, work: (context: Context) => Promise<void>) => Promise<void>;

/** Finishes a command: the options that all commands have, and its implementation, which is imported when it runs. */
export type Runs = <O extends object>(command: Command, load: () => Promise<Implementation<O>>) => Command;

/** Gives commands their actions. */
export function runsWith(runner: Runner): Runs {
  return <O extends object>(command: Command, load: () => Promise<Implementation<O>>) =>
    command
      .option("--json", "print one JSON document")
      .option("--verbose", "show where errors come from")
      .action(async (...received: unknown[]) => {
        const args = received.slice(0, command.registeredArguments.length).flat() as string[];
        const options = command.optsWithGlobals<O & CommonOptions>();
        const implementation = await load();
        await runner(options, (context) => implementation(context, options, ...args));
      });
}
