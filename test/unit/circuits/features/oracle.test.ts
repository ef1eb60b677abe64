import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadDictionary } from "../../../../backend/circuits/features/sae-lens.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { type SavedDictionary, saveDictionary } from "../../../helpers/formats/dictionary.ts";

interface Case {
  readonly config: Record<string, unknown>;
  readonly weights: Pick<SavedDictionary, "W_enc" | "W_dec" | "b_enc" | "b_dec" | "threshold">;
  readonly inputs: number[][];
  readonly features: number[][];
  readonly decoded: number[][];
}

const { cases } = JSON.parse(await readFile("test/oracles/dictionaries.json", "utf8")) as {
  cases: Record<string, Case>;
};

let folder = "";
beforeAll(async () => {
  await initBackend();
  folder = await mkdtemp(join(tmpdir(), "headscope-dictionaries-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Largest difference of a tensor from a table. */
const worst = (tensor: { dataSync(): ArrayLike<number> }, table: readonly (readonly number[])[]): number => {
  const values = tensor.dataSync();
  return Math.max(...table.flat().map((x, i) => Math.abs(x - values[i]!)));
};

describe("a dictionary's features and reconstructions are SAELens's", () => {
  it.each(Object.entries(cases))("%s", async (_, { config, weights, inputs, features, decoded }) => {
    await saveDictionary(folder, { config, ...weights });
    const dictionary = await loadDictionary(folder);
    const x = tf.tensor2d(inputs);
    const active = dictionary.encode(x);
    const again = dictionary.decode(active);
    expect(features.flat().some((activation) => activation > 0)).toBe(true);
    expect(worst(active, features)).toBeLessThan(1e-5);
    expect(worst(again, decoded)).toBeLessThan(1e-5);
    tf.dispose([x, active, again]);
    dictionary.dispose();
  });
});
