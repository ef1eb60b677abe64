import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import { pythonCommand } from "./children/run.ts";

/** Rivals in a Python process that answers one measurement a line (test/bench/python/rivals.py --serve), so that a bench can alternate with them. */
export class Rivals {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #lines: Interface;

  /** @param python of an environment with test/bench/python/requirements.txt @param gguf the checkpoint that both sides run */
  constructor(python: string, gguf: string) {
    const [command, ...args] = pythonCommand(python, "rivals.py", "--gguf", gguf, "--serve");
    const env = { ...process.env, TQDM_DISABLE: "1" };
    this.#child = spawn(command!, args, { env, stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** One repetition in milliseconds; undefined where this rival can't be had. @param pairs file of pairs in token ids, for rivals that need one */
  async measure(name: string, pairs = ""): Promise<number | undefined> {
    const answer = await this.#ask<{ value?: number; error?: string }>(`${name} ${pairs}`.trim());
    if (answer.error) process.stderr.write(`rival ${name}: ${answer.error}\n`);
    return answer.value;
  }

  /** Versions of the rivals' packages. */
  async versions(): Promise<Record<string, string>> {
    return (await this.#ask<{ versions: Record<string, string> }>("versions")).versions;
  }

  async #ask<T>(request: string): Promise<T> {
    this.#child.stdin!.write(`${request}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("the rivals' process ended");
    return JSON.parse(value) as T;
  }

  close(): void {
    this.#child.stdin!.end();
    this.#lines.close();
  }
}
