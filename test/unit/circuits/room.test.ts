import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { ablateEach } from "../../../backend/circuits/ablation/each.ts";
import { findCircuit } from "../../../backend/circuits/edges/find-circuit.ts";
import { runCircuit } from "../../../backend/circuits/edges/run-circuit.ts";
import { NODES } from "../../../backend/circuits/patching/nodes.ts";
import { patch } from "../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import { patchTogether } from "../../../backend/circuits/patching/together.ts";
import { activationBytes } from "../../../backend/circuits/room.ts";
import { runWithCache } from "../../../backend/hooks/run.ts";
import type { Model } from "../../../backend/models/model.ts";
import { blockHook } from "../../../backend/models/transformer/hook-points.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => model.dispose());

const [clean, corrupt] = randomTokens(2, 9, 90, 5) as [number[], number[]];
const short = { clean: clean.slice(1), corrupt: corrupt.slice(1), answer: 5, wrong: 70 };
const pairs = [short, { clean, corrupt, answer: 5, wrong: 70 }];

describe("runs that do not fit into memory are refused with their sizes, before any is made", () => {
  it.each<[string, () => Promise<unknown>]>([
    ["a patching table", () => patch(model, { pairs, node: "z", by: "head" })],
    ["a table of patterns", () => patch(model, { pairs, node: "pattern", by: "head" })],
    ["an estimated table", () => patch(model, { pairs, node: "mlp_out", by: "layer", method: "attribution" })],
    ["a table of neurons", () => patch(model, { pairs, node: "mlp_post", by: "neurons" })],
    ["several places at once", () => patchTogether(model, { pairs, places: [{ node: "z", layer: 0, head: 0 }] })],
    ["paths", () => patchPaths(model, { pairs, into: ["1.0"], through: "q" })],
    ["ablations", () => ablateEach(model, { pairs, each: "head" })],
    ["edges by gradients", () => findCircuit(model, { pairs, method: "eap-ig" })],
    ["edges by runs", () => findCircuit(model, { pairs, method: "exact" })],
    ["a circuit", () => runCircuit(model, { pairs, circuit: { without: [] } })],
  ])("%s", async (_, work) => {
    vi.stubEnv("HEADSCOPE_MEMORY", "1000");
    const before = tf.memory().numTensors;
    await expect(work()).rejects.toThrow(refused("unsupported", { message: "kB, and 1 kB of memory are free" }));
    expect(tf.memory().numTensors).toBe(before);
  });

  it("by the longest of the pairs, and not once there is room", async () => {
    const { base, all } = { base: [pairs[0]!], all: pairs };
    const fits = (some: typeof pairs, bytes: number): Promise<boolean> => {
      vi.stubEnv("HEADSCOPE_MEMORY", String(bytes));
      return patch(model, { pairs: some, node: "pattern", by: "layer" }).then(
        () => true,
        () => false,
      );
    };
    // The least that is enough for the shorter pair alone, by halving.
    let [low, high] = [0, 1e9];
    while (high - low > 64) {
      const middle = (low + high) / 2;
      if (await fits(base, middle)) high = middle;
      else low = middle;
    }
    expect(await fits(all, high)).toBe(false);
    expect(await fits(all, 2 * high)).toBe(true);
  });

  it("and what an activation takes is what it does take", () => {
    const { cache } = runWithCache(model, [clean], { logitsAt: "none" });
    for (const { hook } of Object.values(NODES)) {
      const name = blockHook(1, hook);
      const { size } = cache.get(name);
      expect([name, activationBytes(model.config, [name], clean.length)]).toEqual([name, 4 * size]);
    }
    cache.dispose();
  });
});
