import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TokenPair } from "../../backend/circuits/pairs.ts";
import type { Model } from "../../backend/models/model.ts";
import { pairTasks, samplePairs } from "../../synthetic-tasks/pairs/index.ts";

/** What a process that scores edges says (eap-ig.ts, eap_ig.py). */
interface Scored {
  ms: number;
  peakBytes: number;
}

/** The EAP-IG package, which no registry has. */
export interface EapIgPackage {
  python: string;
  /** The checkpoint that both sides run. */
  gguf: string;
  /** A checkout of https://github.com/hannamw/EAP-IG. */
  folder: string;
}

/** A file with pairs of the IOI task in token ids, which both sides read. */
export class PairFile {
  readonly path: string;
  readonly #folder: string;

  /** Draws as many pairs as `headscope pairs ioi` does. */
  constructor(model: Model, count: number) {
    const { tokens } = samplePairs(model, pairTasks.get("ioi"), pairTasks.parse("ioi", {}), { count, seed: 0 });
    this.#folder = mkdtempSync(join(tmpdir(), "headscope-bench-"));
    this.path = join(this.#folder, "pairs.json");
    writeFileSync(this.path, JSON.stringify(tokens));
  }

  /** The first pair of so many tokens. */
  ofLength(tokens: number): TokenPair {
    const pairs = JSON.parse(readFileSync(this.path, "utf8")) as TokenPair[];
    return pairs.find(({ clean }) => clean.length === tokens)!;
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/**
 * EAP-IG with 5 steps by both sides, each in a process of its own whose first run is not counted; time and memory are of the same
 * process.
 */
export class EdgeScores {
  readonly #commands: Readonly<Record<"ours" | "theirs", string[] | undefined>>;
  readonly #last: { ours?: Scored | undefined; theirs?: Scored | undefined } = {};

  /** @param ref of our side @param rival none without it */
  constructor(ref: string, pairs: string, rival: EapIgPackage | undefined) {
    const [ours, theirs] = ["./bench-eap-ig.js", "../test/bench/python/eap_ig.py"].map((file) =>
      fileURLToPath(new URL(file, import.meta.url)),
    );
    this.#commands = {
      ours: [process.execPath, ours!, ref, pairs],
      theirs: rival && [rival.python, theirs!, pairs, "--gguf", rival.gguf, "--package", rival.folder],
    };
  }

  /** Seconds of scoring all edges. */
  time(side: "ours" | "theirs"): number | undefined {
    this.#last[side] = this.#run(side);
    const took = this.#last[side]?.ms;
    return took === undefined ? undefined : took / 1000;
  }

  /** The most that the last timed process held, in MB, its model included. */
  peak(side: "ours" | "theirs"): number | undefined {
    this.#last[side] ??= this.#run(side);
    const peak = this.#last[side]?.peakBytes;
    return peak === undefined ? undefined : peak / 1e6;
  }

  #run(side: "ours" | "theirs"): Scored | undefined {
    const [command, ...args] = this.#commands[side] ?? [];
    if (command === undefined) return undefined;
    const { stdout, status } = spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
    if (status !== 0) throw new Error(`${args[0]} ended with ${status}`);
    return JSON.parse(stdout.trim().split("\n").at(-1)!) as Scored;
  }
}
