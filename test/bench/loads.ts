import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeMadeUp } from "./made-up.ts";

/** What a process that loads a model says (load.ts, load_model.py). */
interface Loaded {
  loadMs: number;
  firstMs: number;
  peakBytes: number;
}

/** Loads of one model by both sides, each in a process of its own; time and memory are of the same run. */
export class Loads {
  readonly #commands: Readonly<Record<"ours" | "theirs", string[] | undefined>>;
  readonly #last: { ours?: Loaded | undefined; theirs?: Loaded | undefined } = {};

  /** @param ref of our side @param rival the Python and the checkpoint of transformers' side; none without it */
  constructor(ref: string, weights: "f32" | "bf16", rival?: { python: string; path: string }) {
    const dtype = weights === "f32" ? "float32" : "bfloat16";
    const script = fileURLToPath(new URL("../test/bench/python/load_model.py", import.meta.url));
    this.#commands = {
      ours: ownLoad(ref, weights),
      theirs: rival && [rival.python, script, rival.path, "--dtype", dtype],
    };
  }

  /** Milliseconds of a load. */
  time(side: "ours" | "theirs"): number | undefined {
    this.#last[side] = this.#run(side);
    return this.#last[side]?.loadMs;
  }

  /** The most that the last timed load's process held, in MB, until its first logits. */
  peak(side: "ours" | "theirs"): number | undefined {
    this.#last[side] ??= this.#run(side);
    const peak = this.#last[side]?.peakBytes;
    return peak === undefined ? undefined : peak / 1e6;
  }

  #run(side: "ours" | "theirs"): Loaded | undefined {
    const command = this.#commands[side];
    return command && run(command);
  }
}

/** The most memory, in GB, that opening a made-up checkpoint of SmolLM2-1.7B's shape takes, with logits of some tokens. */
export function largePeak(tokens: number): number {
  const folder = mkdtempSync(join(tmpdir(), "headscope-bench-"));
  try {
    writeMadeUp(folder);
    return run([...ownLoad(folder, "bf16"), "--tokens", `${tokens}`]).peakBytes / 1e9;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function ownLoad(ref: string, weights: "f32" | "bf16"): string[] {
  const script = fileURLToPath(new URL("./bench-load.js", import.meta.url));
  return [process.execPath, script, ref, "--weights", weights];
}

function run([command, ...args]: string[]): Loaded {
  const env = { ...process.env, TQDM_DISABLE: "1" };
  const { stdout, status } = spawnSync(command!, args, { env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  if (status !== 0) throw new Error(`${args[0]} ended with ${status}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as Loaded;
}
