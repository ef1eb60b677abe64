import { readFileSync } from "node:fs";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { modelFile } from "../../backend/models/sources/pull.ts";
import type { LoadOptions } from "../../backend/models/sources/source.ts";

/** Why tests on the real model are skipped, or undefined where it is on this machine (npm test pulls it where pip can). */
export const smollm2Missing: string | undefined = modelFile("smollm2-135m") ? undefined : "smollm2-135m is not pulled";

/** The real model. */
export function loadSmollm2(options: LoadOptions = {}): Promise<Model> {
  return loadModel("smollm2-135m", options);
}

/** A section of the PyTorch oracle's outputs (test/oracles/smollm2.py). */
export function oracle<T>(section: string): T {
  return JSON.parse(readFileSync(new URL(`../oracles/smollm2/${section}.json`, import.meta.url), "utf8")) as T;
}
