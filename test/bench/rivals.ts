import { type ChildProcess, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Rivals in a Python process that answers one measurement a line (test/bench/python/rivals.py --serve), so that a bench can alternate with them. */
export class Rivals {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #lines: Interface;

  /**
   * @param python of an environment with test/bench/python/requirements.txt @param gguf the checkpoint that both sides run
   * @param pairs file of pairs in token ids; without it rivals that need one can't be had
   */
  constructor(python: string, gguf: string, pairs?: string) {
    const script = fileURLToPath(new URL("../test/bench/python/rivals.py", import.meta.url));
    this.#child = spawn(python, [script, "--gguf", gguf, "--serve", ...(pairs ? ["--pairs", pairs] : [])], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#lines = createInterface({ input: this.#child.stdout! });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** One repetition in milliseconds; undefined where this rival can't be had. */
  async measure(name: string): Promise<number | undefined> {
    this.#child.stdin!.write(`${name}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("the rivals' process ended");
    const answer = JSON.parse(value) as { value?: number; error?: string };
    if (answer.error) process.stderr.write(`rival ${name}: ${answer.error}\n`);
    return answer.value;
  }

  close(): void {
    this.#child.stdin!.end();
    this.#lines.close();
  }
}
