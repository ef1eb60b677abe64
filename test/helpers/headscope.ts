import { Writable } from "node:stream";
import { run } from "../../backend/cli/run.ts";
import { output, problems } from "../../backend/setup/terminal.mjs";
import { type CliOptions, type CliRun, ROOT } from "./cli.ts";

let idle: Promise<unknown> = Promise.resolve();

/**
 * Runs a command line in this process, from the sources: all of `headscope` but its start as a program, without the second that
 * a process takes to load TensorFlow. Signals, pipes, HEADSCOPE_BACKEND and the bundle itself need `spawnHeadscope`.
 * The exits, the environment and the working folder are the process's, so that calls wait for one another.
 */
export function headscope(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  const done = idle.then(() => runAlone(args, options));
  idle = done.catch(() => {});
  return done;
}

async function runAlone(args: readonly string[], { cwd = ROOT, env = {} }: CliOptions): Promise<CliRun> {
  const [stdout, stderr] = [new Collected(), new Collected()];
  const restore = [
    exchange(output, { stream: stdout }),
    exchange(problems, { stream: stderr }),
    exchange(process.env, env),
  ];
  const before = process.cwd();
  process.chdir(cwd);
  try {
    const code = await run(args);
    return { code, stdout: stdout.text, stderr: stderr.text, json: () => JSON.parse(stdout.text) };
  } finally {
    process.chdir(before);
    for (const each of restore) each();
  }
}

/** Gives an object other values for a while; undefined takes one away. @returns puts the old ones back */
function exchange(object: object, values: object): () => void {
  const before = Object.keys(values).map((name) => [name, Reflect.get(object, name)] as const);
  const set = (name: string, value: unknown) =>
    value === undefined ? Reflect.deleteProperty(object, name) : Reflect.set(object, name, value);
  for (const [name, value] of Object.entries(values)) set(name, value);
  return () => {
    for (const [name, value] of before) set(name, value);
  };
}

/** Keeps what is written to it. */
class Collected extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}
