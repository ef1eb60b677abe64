import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ablate, ablateSweep } from "../../../../backend/circuits/ablation/ablate.ts";
import { intervene } from "../../../../backend/circuits/intervene.ts";
import { patch } from "../../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import { maskFromKvHeads } from "../../../../backend/common/heads/mask.ts";
import { headModel } from "../../../../backend/common/heads/model.ts";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { type GenerateOptions, generate } from "../../../../backend/inference/generate.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import type { Turn } from "../../../../backend/runtime/turn.ts";
import { randomTokens, smallConfig } from "../../../helpers/models.ts";
import { apart, ownDataFolder, saveRandomRun } from "../../../helpers/processes/workers.ts";

/** Longer than the part of a prompt that is read in one go, and in several stretches of four layers. */
const TOKENS = 1_030;
const CONFIG = smallConfig({ n_layers: 4, n_heads: 4, d_model: 32, n_ctx: 1_200 });

ownDataFolder();
let model: Model;
beforeAll(async () => {
  await saveRandomRun("long-1", 0, CONFIG, 1);
  model = await loadModel("run:long-1");
  model.rotary; // made once for a model
});
afterAll(() => model.dispose());

const [long, other] = randomTokens(2, TOKENS, CONFIG.d_vocab) as [number[], number[]];
const vector = Array.from({ length: CONFIG.d_model }, (_, i) => 3 * Math.sin(i));
const near = TOKENS - 3;

/** Changes at positions of the first, a middle and the last part, and at new tokens; patterns of some queries among them. */
const CHANGES: Intervention[] = [
  { at: "blocks.1.hook_resid_pre", do: "add", with: vector, positions: [0, 511, 512, near, TOKENS + 1] },
  { at: "blocks.2.attn.hook_z", heads: [1, 3], do: "zero", positions: [600, TOKENS] },
  { at: "blocks.2.attn.hook_attn_scores", heads: [0], do: "knock-out", keys: [3, 700, near] },
  { at: "blocks.3.attn.hook_attn_scores", do: "knock-out", positions: [near, TOKENS - 1], keys: [0, 520] },
];

type Work = (turn: { turn?: Turn }) => Promise<readonly number[]>;

/** The same numbers whether others have a turn in between or not, and no tensor left. */
async function expectSame(work: Work): Promise<void> {
  let turns = 0;
  const turn = async (): Promise<void> => {
    turns++;
  };
  const alone = await work({});
  const before = tf.memory().numTensors;
  const inTurns = await work({ turn });
  expect(tf.memory().numTensors).toBe(before);
  expect(turns).toBeGreaterThan(0);
  expect(inTurns.length).toBe(alone.length);
  expect(alone.every(Number.isFinite)).toBe(true);
  expect(apart(inTurns, alone)).toBeLessThan(1e-3);
}

describe("the same numbers in turns", () => {
  const pair = { clean: long, corrupt: other, answer: 1, wrong: 2 };

  it.each(["k", "pattern"] as const)("patching of %s", (node) =>
    expectSame(async (turn) => {
      const { clean, corrupt, patched } = await patch(model, {
        pairs: [pair],
        node,
        by: "layer",
        layers: [1],
        ...turn,
      });
      return [clean, corrupt, ...patched.flat()];
    }),
  );

  const paths = [
    { mlps: "frozen", through: "q" },
    { mlps: "recomputed", through: "k" },
  ] as const;
  it.each(paths)("path patching, $mlps, through $through", (path) =>
    expectSame(async (turn) => {
      const into = [{ layer: 1, head: 3 }];
      const { clean, corrupt, patched } = await patchPaths(model, { pairs: [pair], into, ...path, ...turn });
      return [clean, corrupt, ...patched.flat()];
    }),
  );

  const heads = [
    { layer: 1, head: 0 },
    { layer: 3, head: 2 },
  ];
  it.each([
    { method: "zero" as const },
    { method: "mean" as const, byPosition: true },
    { method: "resample" as const },
  ])("ablation with a contrast, $method", (how) =>
    expectSame(async (turn) => {
      const contrast = { position: near, wrong: 5 };
      const input = { tokens: [long], heads, reference: [other], controls: 2, contrast, ...how, ...turn };
      const { clean, ablated, control, difference } = await ablate(model, input);
      const { draws, ...pairOf } = difference!;
      return [...clean.nll[0]!, ...ablated.nll[0]!, control!.mean, pairOf.clean, pairOf.ablated, ...draws];
    }),
  );

  it("ablation of rows of different lengths, several sets", () =>
    expectSame(async (turn) => {
      const tokens = [long, other.slice(0, 700)];
      const results = await ablateSweep(model, { tokens, method: "mean", sets: [[], heads, heads.slice(1)], ...turn });
      return results.flatMap(({ nll }) => nll.flat());
    }));

  it("interventions", () =>
    expectSame(async (turn) => {
      const interventions = CHANGES.map((one) => ({
        ...one,
        ...(Array.isArray(one.positions) ? { positions: one.positions.filter((p) => p < TOKENS) } : {}),
      }));
      const { clean, changed } = await intervene(model, { tokens: [long], interventions, ...turn });
      return [...clean.nll[0]!, ...changed.nll[0]!];
    }));
});

describe("a generation in turns", () => {
  const mask = () => maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 4, recent: 24 });
  const wide = () => maskFromKvHeads(headModel(model), [{ layer: 1, head: 0 }], { sink: 8, recent: 600 });
  const ways: [string, () => Partial<GenerateOptions>][] = [
    ["without a mask", () => ({})],
    ["under a mask", () => ({ mask: mask() })],
    ["under a mask of windows longer than a part", () => ({ mask: wide() })],
    ["under a mask from the first new token on", () => ({ mask: mask(), prefill: "dense" })],
    ["without a cache", () => ({ useCache: false })],
  ];
  for (const [name, way] of ways) {
    it(`${name}, changed at positions of the sequence`, () =>
      expectSame(async (turn) => {
        const { ids, logits } = await generate(model, {
          tokens: long,
          maxTokens: 4,
          stop: [],
          interventions: CHANGES,
          ...way(),
          ...turn,
        });
        return [...ids, ...logits];
      }));
  }

  it("hands out the activations of the whole prompt as its step 0, and runs hooks on all of it", async () => {
    const z = "blocks.1.attn.hook_z";
    const seen = async (turn: { turn?: Turn }): Promise<number[][][]> => {
      const looked: number[][] = [];
      const hooked: number[][] = [];
      const onStep: GenerateOptions["onStep"] = (result, step) => {
        if (step === 0) looked.push(result.activations.get(z)!.shape);
      };
      const forward = { names: [z] };
      await generate(model, { tokens: long, maxTokens: 1, stop: [], forward, onStep, ...turn });
      const hooks = [[z, (t: { shape: number[] }) => void hooked.push(t.shape)]] as const;
      await generate(model, { tokens: long, maxTokens: 1, stop: [], forward: { hooks }, ...turn });
      return [looked, hooked];
    };
    expect(await seen({ turn: async () => {} })).toEqual(await seen({}));
  });
});
