import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablate } from "../../../../backend/circuits/ablation/ablate.ts";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import { generate } from "../../../../backend/inference/generate.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { forwardInTurns } from "../../../../backend/models/forward/turns.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { loopTurn, type Turn } from "../../../../backend/runtime/turn.ts";
import { randomTokens, smallConfig } from "../../../helpers/models.ts";
import { apart, ownDataFolder, saveRandomRun } from "../../../helpers/processes/workers.ts";

/** Longer than what runs in one go, at eight layers of it. */
const TOKENS = 600;
const CONFIG = smallConfig({ n_layers: 8, n_ctx: 1_024 });

ownDataFolder();
let model: Model;
beforeAll(async () => {
  await saveRandomRun("long-1", 0, CONFIG, 1);
  model = await loadModel("run:long-1");
  model.rotary; // made once for a model
});
afterAll(() => model.dispose());
const [long, other] = randomTokens(2, TOKENS, CONFIG.d_vocab) as [number[], number[]];

/** A turn that counts, and in which another request is answered: it leaves and frees tensors of its own. */
function crowded(): Turn & { count: () => number } {
  let count = 0;
  const turn = async (): Promise<void> => {
    count++;
    await loopTurn()();
    forward(model, { tokens: [[1, 2, 3]] }).dispose();
  };
  return Object.assign(turn, { count: () => count });
}

/** A turn in which the work is given up at the n-th time. */
function givenUp(n: number): Turn {
  let count = 0;
  return async () => {
    if (++count === n) throw new Error("enough");
  };
}

describe("a forward in turns", () => {
  const names = ["blocks.0.hook_resid_pre", "blocks.7.attn.hook_z"];

  it("is a forward, to rounding, whoever has a turn between its layers", async () => {
    const whole = forward(model, { tokens: [long], logitsAt: "last" }, { names });
    const turn = crowded();
    const parts = await forwardInTurns(model, { tokens: [long], logitsAt: "last" }, { names }, turn);
    expect(turn.count()).toBeGreaterThan(0);
    expect([...parts.activations.keys()].sort()).toEqual([...names].sort());
    for (const of of [
      (r: typeof whole) => r.logits!,
      (r: typeof whole) => r.resid,
      ...names.map((name) => (r: typeof whole) => r.activations.get(name)!),
    ]) {
      expect(of(parts).shape).toEqual(of(whole).shape);
      expect(apart(of(parts).dataSync(), of(whole).dataSync())).toBeLessThan(1e-4);
    }
    whole.dispose();
    parts.dispose();
  });

  it("leaves nothing behind, done or given up", async () => {
    const before = tf.memory().numTensors;
    (await forwardInTurns(model, { tokens: [long], logitsAt: "none" }, { names }, crowded())).dispose();
    expect(tf.memory().numTensors).toBe(before);
    await expect(forwardInTurns(model, { tokens: [long] }, { names }, givenUp(1))).rejects.toThrow("enough");
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("long work that lets others in", () => {
  const heads = [{ layer: 1, head: 0 }];
  const ablation = { tokens: [long], heads, method: "mean" as const, reference: [other], controls: 1 };
  const pair = { clean: long, corrupt: other, answer: 1, wrong: 2 };
  const works: Record<string, (turn?: Turn) => Promise<readonly number[]>> = {
    "an ablation": async (turn) => {
      const { clean, ablated, control } = await ablate(model, { ...ablation, ...(turn ? { turn } : {}) });
      return [...clean.nll[0]!, ...ablated.nll[0]!, control!.mean];
    },
    "a patching": async (turn) => {
      const options = { pairs: [pair], node: "z" as const, by: "head" as const, layers: [2] };
      const { clean, corrupt, patched } = await patch(model, { ...options, ...(turn ? { turn } : {}) });
      return [clean, corrupt, ...patched.flat()];
    },
    "a path patching": async (turn) => {
      const options = { pairs: [pair], into: heads, through: "k" as const };
      const { clean, corrupt, patched } = await patchPaths(model, { ...options, ...(turn ? { turn } : {}) });
      return [clean, corrupt, ...patched.flat()];
    },
    "a generation": async (turn) => {
      const { ids, logits } = await generate(model, { tokens: long, maxTokens: 3, ...(turn ? { turn } : {}) });
      return [...ids, ...logits];
    },
  };

  for (const [name, work] of Object.entries(works)) {
    it(`${name} gives the same numbers, and leaves nothing behind, done or given up`, async () => {
      const alone = await work();
      const before = tf.memory().numTensors;
      const turn = crowded();
      expect(apart(await work(turn), alone)).toBeLessThan(1e-3);
      expect(turn.count()).toBeGreaterThan(1);
      expect(tf.memory().numTensors).toBe(before);
      for (const n of [1, 2]) await expect(work(givenUp(n))).rejects.toThrow("enough");
      expect(tf.memory().numTensors).toBe(before);
    });
  }
});
