import { spawn } from "node:child_process";
import { SetupError } from "./failure.mjs";

/**
 * @typedef {object} Ran
 * @property {number} code exit code; 127 when the program is not there
 * @property {string} output the last 64 kB of standard output and standard error together
 */

/**
 * Runs a program to its end and keeps what it says. A program that is not there gives code 127.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, signal?: AbortSignal | undefined, onOutput?: ((text: string) => void) | undefined }} [options]
 * @returns {Promise<Ran>}
 * @throws {SetupError} kind cancelled, when `signal` aborts; the program has ended by then
 */
export function runProcess(program, args, { cwd, env, signal, onOutput } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new SetupError("cancelled", "interrupted"));
    const child = spawn(program, args, { cwd, env: env ?? process.env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    /** @param {Buffer} chunk */
    const keep = (chunk) => {
      const text = chunk.toString("utf8");
      output = (output + text).slice(-65_536);
      onOutput?.(text);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    const stop = () => child.kill("SIGTERM");
    signal?.addEventListener("abort", stop, { once: true });
    child.on("error", (error) => {
      signal?.removeEventListener("abort", stop);
      resolve({ code: 127, output: `${output}${error.message}` });
    });
    child.on("close", (code) => {
      signal?.removeEventListener("abort", stop);
      if (signal?.aborted) reject(new SetupError("cancelled", "interrupted"));
      else resolve({ code: code ?? 1, output });
    });
  });
}

/**
 * Tells whether a program answers.
 * @param {string} program
 * @param {readonly string[]} [args] default --version
 */
export async function isThere(program, args = ["--version"]) {
  return (await runProcess(program, args)).code === 0;
}

/** The last line that says something: usually a tool's own error. @param {string} output */
export function lastLine(output) {
  const lines = output.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "").at(-1) ?? "no output";
}

/** @param {string} output of a compiler or a program @returns {string} its first error, else its last line */
export function firstError(output) {
  return output.split("\n").find((line) => /error/i.test(line)) ?? lastLine(output);
}
