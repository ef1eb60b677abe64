import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** The side of a comparison. */
export type Side = "ours" | "theirs";

/** Commands of both sides' processes; undefined where one can't be had. */
export type Commands = Readonly<Record<Side, readonly string[] | undefined>>;

/** A bundle of the bench beside this one, as a command. @param name without dist/ and .js */
export function ownCommand(name: string, ...args: string[]): string[] {
  return [process.execPath, fileURLToPath(new URL(`./${name}.js`, import.meta.url)), ...args];
}

/** A script of test/bench/python, as a command. */
export function pythonCommand(python: string, script: string, ...args: string[]): string[] {
  return [python, fileURLToPath(new URL(`../test/bench/python/${script}`, import.meta.url)), ...args];
}

/** Runs a process to its end. @param more of its environment @returns the JSON of the last line that it wrote */
export function runChild<T>([command, ...args]: readonly string[], more: Record<string, string> = {}): T {
  const env = { ...process.env, TQDM_DISABLE: "1", ...more };
  const { stdout, status } = spawnSync(command!, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as T;
}

/** Processes of both sides, and what each said last, so that several figures come from the same run. */
export class Children<T> {
  readonly #commands: Commands;
  readonly #last: { ours?: T; theirs?: T } = {};

  constructor(commands: Commands) {
    this.#commands = commands;
  }

  /** Runs a side's process. @returns undefined where there is none */
  fresh(side: Side): T | undefined {
    const command = this.#commands[side];
    if (!command) return undefined;
    this.#last[side] = runChild<T>(command);
    return this.#last[side];
  }

  /** A side's last run, or its first. */
  last(side: Side): T | undefined {
    return this.#last[side] ?? this.fresh(side);
  }
}
