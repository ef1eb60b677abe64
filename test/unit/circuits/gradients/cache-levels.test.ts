import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findLevels } from "../../../../backend/circuits/gradients/cache-levels.ts";
import { type CacheLevels, writeLevels } from "../../../../backend/heads/levels.ts";
import { readPrefix } from "../../../../backend/inference/generate.ts";
import { choosePolicies, type PolicyRequest } from "../../../../backend/inference/policies/choice.ts";
import { checkSuits } from "../../../../backend/inference/policies/suits.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { errorOf, failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { kernelsHere } from "../../../helpers/kernels/here.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { drawnInput } from "../../../helpers/oracles/policies.ts";

/** Levels as test/oracles/kvquant_levels.py has worked them out. */
interface Oracle {
  seed: number;
  rows: number;
  tokens: number;
  outliers: number;
  levels: Record<"2" | "3" | "4", Record<"keys" | "values", number[][]>>;
}
const oracle = JSON.parse(
  readFileSync(new URL("../../../oracles/policies/levels.json", import.meta.url), "utf8"),
) as Oracle;
const BITS = [2, 3, 4] as const;

const { ready } = await kernelsHere();
const folder = mkdtempSync(join(tmpdir(), "headscope-levels-"));
const path = join(folder, "levels.json");
const rows = Array.from({ length: oracle.rows }, (_, stream) =>
  [...drawnInput({ kind: "uniform", stream, shape: [oracle.tokens], scale: 1 }, oracle.seed)].map((u) =>
    Math.floor(97 * u),
  ),
);
let model: Model;
let levels: CacheLevels;
beforeAll(async () => {
  model = await loadModel(fixture("policies/llama"));
  await findLevels(model, { tokens: [rows[0]!.slice(0, 128)] }); // makes the tables of rotations, which the model keeps
  const before = tf.memory().numTensors;
  levels = await findLevels(model, { tokens: rows });
  expect(tf.memory().numTensors).toBe(before);
  await writeLevels(path, levels);
});
afterAll(() => {
  model.dispose();
  rmSync(folder, { recursive: true });
});

describe("levels of keys and values", () => {
  it("are those of a NumPy program with gradients worked out by hand", () => {
    expect(levels.params).toMatchObject({ outliers: oracle.outliers, rows: 2, tokens: 512 });
    for (const bits of BITS)
      for (const part of ["keys", "values"] as const)
        levels.layers.forEach((layer, l) => {
          const expected = oracle.levels[bits][part][l]!;
          layer[part][bits].forEach((level, i) => {
            expect(Math.abs(level - expected[i]!), `${part} ${l}, ${bits} bits, level ${i}`).toBeLessThan(
              part === "keys" ? 2e-3 : 2e-4,
            );
          });
        });
  });

  it("need rows of a page, and a file of the same model and outliers", async () => {
    const short = await failure(() => findLevels(model, { tokens: [rows[0]!.slice(0, 100)] }));
    expect(short).toMatchObject({ kind: "input" });
    const params = { levels: path, outliers: 0.05 };
    expect(await errorOf(choosePolicies([{ name: "kvquant", params }]))).toMatchObject({
      kind: "mismatch",
      field: ["levels", "outliers"],
    });
    const choice = await choosePolicies([{ name: "kvquant", params: { levels: path } }]);
    const other = randomModel(smallConfig());
    expect(await failure(() => checkSuits(other, choice))).toMatchObject({ kind: "mismatch" });
    other.dispose();
    expect(await failure(() => findLevels(model, { tokens: rows, signal: AbortSignal.abort() })).catch((e) => e)).toMatchObject({ name: "AbortError" }); // biome-ignore format: one line
  });

  it.skipIf(!ready)("are what a page's numbers are rounded to, in place of the prompt's own", async () => {
    const steps = [-0.5, -0.125, 0.25, 0.5];
    const layers = levels.layers.map(({ keys, values }) => ({ keys, values: { ...values, 2: steps } }));
    const file = join(folder, "steps.json");
    await writeLevels(file, { ...levels, layers });
    const held = async (policies: PolicyRequest[]) => {
      const prefix = await readPrefix(model, { tokens: rows[1]!, policies });
      const { keys, values } = prefix.cache.readAt({ layer: 1, row: 0, head: 1 }, [100]);
      const numbers = [...values.dataSync()];
      tf.dispose([keys, values]);
      prefix.dispose();
      return numbers;
    };
    const plain = await held([]);
    const coded = await held([{ name: "kvquant", params: { bits: 2, recent: 0, levels: file } }]);
    // The largest and the least number stay as they are; the others are levels between those next to them.
    const order = [...plain.keys()].sort((a, b) => plain[a]! - plain[b]!).slice(1, -1);
    const [low, high] = [plain[order[0]!]!, plain[order.at(-1)!]!];
    for (const at of order) {
      const scaled = (coded[at]! - (low + high) / 2) / ((high - low) / 2);
      expect(Math.min(...steps.map((step) => Math.abs(step - scaled)))).toBeLessThan(4e-3); // scales in half precision
    }
  });
});
