import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TokenPair } from "../../backend/circuits/pairs.ts";
import type { Model } from "../../backend/models/model.ts";
import { pairTasks, samplePairs } from "../../synthetic-tasks/pairs/index.ts";

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
