import { readFileSync } from "node:fs";
import { pulledModel } from "../../backend/models/sources/pull.ts";

/** Whether the real model is on this machine; `npm test` fetches it first. */
export const havePulled = pulledModel("smollm2-135m") !== undefined;

/** Title for tests of the real model: says why they are skipped where they are. */
export function onSmolLm2(title: string): string {
  return havePulled
    ? title
    : `${title} (skipped: smollm2-135m is not pulled; run \`headscope models pull smollm2-135m\`)`;
}

/** One section of the oracle, test/oracles/smollm2.py. */
export function oracle<T>(section: string): T {
  return JSON.parse(readFileSync(new URL(`../oracles/smollm2/${section}.json`, import.meta.url), "utf8")) as T;
}

/** Largest absolute difference of two nested arrays of one shape. */
export function worst(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b);
  if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) throw new Error("shapes differ");
  return Math.max(0, ...a.map((x, i) => worst(x, b[i])));
}
