import type { Command, CommanderError } from "commander";
import { HeadscopeError, nearestNames, unknownName } from "../common/errors.ts";

/** Exit code of a run that Ctrl-C ended: 128 and SIGINT's number. */
export const INTERRUPTED = 130;

/** A failure whose reason was said already: by a process that did a part of the command, or in what the command has printed. */
export class ReportedFailure extends Error {
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`the command has failed with exit code ${exitCode}, and said why`);
    this.exitCode = exitCode;
  }
}

/** Tells whether an error says only that the user has cancelled. */
export function isCancelled(error: unknown): boolean {
  if (error instanceof HeadscopeError) return error.kind === "cancelled";
  return error instanceof Error && error.name === "AbortError";
}

/**
 * Turns commander's word on a wrong call into an error of ours with the nearest names.
 * @param command the command that was being parsed
 * @param args the whole command line
 * @returns undefined where the help or the version was shown instead
 */
export function usageError(
  error: CommanderError,
  command: Command,
  args: readonly string[],
): HeadscopeError | undefined {
  if (error.exitCode === 0 || error.code === "commander.help") return undefined;
  const path = commandPath(command);
  // A misspelt option that is needed would else be called missing.
  const misspelt = error.code === "commander.missingMandatoryOptionValue" ? unknownOption(command, args) : undefined;
  if (misspelt !== undefined) return unknownName("option", misspelt, longOptions(command));
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const what = first.replaceAll("'", '"').replace(/\.$/, "");
  const suggestion = /Did you mean (?:one of )?(.*?)\?\)?$/.exec(rest.join(" "))?.[1];
  const remedy = suggestion ? `did you mean ${suggestion}?` : (guess(error, command, what) ?? `see ${path} --help`);
  return new HeadscopeError("usage", what, { remedy });
}

/** The nearest names where commander thought none near enough. */
function guess(error: CommanderError, command: Command, what: string): string | undefined {
  const name = /"(.*)"/.exec(what)?.[1];
  if (name === undefined) return undefined;
  if (error.code === "commander.unknownCommand")
    return `did you mean ${nearestNames(name, names(command.commands)).join(", ")}?`;
  if (error.code !== "commander.unknownOption") return undefined;
  return `did you mean ${nearestNames(name, longOptions(command)).join(", ")}?`;
}

function longOptions(command: Command): string[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long }) => (long ? [long] : []));
}

function unknownOption(command: Command, args: readonly string[]): string | undefined {
  const options = longOptions(command);
  return args.map((arg) => arg.replace(/=.*/s, "")).find((arg) => /^--\w/.test(arg) && !options.includes(arg));
}

function names(commands: readonly Command[]): string[] {
  return commands.map((command) => command.name());
}

/** "headscope models pull". */
function commandPath(command: Command): string {
  return command.parent ? `${commandPath(command.parent)} ${command.name()}` : command.name();
}

/**
 * The one line that a person reads of an error that we did not make: what the system or a library says.
 * @returns the line, without "headscope: " in front
 */
export function lineOf(error: unknown): string {
  if (error instanceof HeadscopeError) return error.line.replaceAll("\n", " ");
  const { code, message, path } = error as NodeJS.ErrnoException;
  const reason = code === undefined ? undefined : SYSTEM[code];
  if (reason !== undefined) return `${path ?? message}: ${reason}`;
  const first = (error instanceof Error ? error.message : String(error)).split("\n")[0];
  return `${first}; this is a defect of headscope: run again with --verbose to see where`;
}

const SYSTEM: Readonly<Record<string, string>> = {
  ENOENT: "no such file or folder; check the path",
  EACCES: "permission denied; choose another path or change its permissions",
  EPERM: "not permitted; choose another path or change its permissions",
  EROFS: "the file system is read-only; choose another path",
  EISDIR: "it is a folder; give a file's path",
  ENOTDIR: "a part of the path is a file; choose another path",
  EEXIST: "it is there already; choose another path",
  ENOSPC: "the disk is full; make room and run again",
  EMFILE: "too many open files; close some programs and run again",
};
