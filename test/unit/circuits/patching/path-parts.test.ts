import { beforeAll, describe, expect, it } from "vitest";
import { runCircuit } from "../../../../backend/circuits/edges/run-circuit.ts";
import { patchPaths } from "../../../../backend/circuits/patching/path.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { circuitOracle, FAMILIES, loadFamily } from "../../../helpers/oracles/circuits.ts";
import { farthest } from "../../../helpers/oracles/differences.ts";

beforeAll(() => initBackend());

const PAIR = {
  clean: [5, 41, 17, 80, 3, 66, 29, 52, 90, 11, 41, 73],
  corrupt: [5, 62, 17, 80, 3, 66, 29, 8, 90, 11, 41, 73],
  answer: 23,
  wrong: 57,
};

it.each(FAMILIES)("paths of %s from heads to heads are PyTorch's", async (name) => {
  const model = await loadFamily(name);
  const { pairs, paths } = circuitOracle(name);
  for (const { pairs: which, values, ...options } of paths) {
    const { patched } = await patchPaths(model, { pairs: which.map((p) => pairs[p]!), ...options });
    expect(farthest(patched.flat(), values), JSON.stringify(options)).toBeLessThan(2e-4);
  }
  model.dispose();
});

/** Senders by their names here, and as sources of edges. */
const SENDERS = { embed: "embed", m0: "m0", "0.1": "a0.h1" } as const;

it.each(["gemma2", "gpt_neox", "llama-gqa", "olmo2"])(
  "an edge of %s patched by noise is the circuit without it",
  async (name) => {
    const model = await loadFamily(name);
    const pairs = [circuitOracle(name).pairs[0]!];
    const into = { "1.2": "a1.h2", m1: "m1", logits: "logits" } as const;
    for (const [receiver, end] of Object.entries(into))
      for (const through of receiver === "1.2" ? (["q", "k", "v"] as const) : [undefined]) {
        const from = Object.keys(SENDERS);
        const options = { pairs, into: [receiver], from, direction: "noise", ...(through ? { through } : {}) } as const;
        const { patched, patchedMlps, patchedEmbed } = await patchPaths(model, options);
        const ours = { embed: patchedEmbed, m0: patchedMlps![0], "0.1": patched[0]![1] };
        for (const [sender, source] of Object.entries(SENDERS)) {
          const edge = { from: source, to: through ? `${end}<${through}>` : end };
          const { metric } = await runCircuit(model, { pairs, circuit: { without: [edge] } });
          expect(ours[sender as keyof typeof ours], `${sender} into ${edge.to}`).toBeCloseTo(metric, 3);
        }
      }
    const several = { pairs, into: ["1.2", "m1", "logits"], through: "k", from: ["0.1"], direction: "noise" } as const;
    const without = ["a1.h2<k>", "m1", "logits"].map((to) => ({ from: "a0.h1", to }));
    const { metric } = await runCircuit(model, { pairs, circuit: { without } });
    expect((await patchPaths(model, several)).patched[0]![1]).toBeCloseTo(metric, 3);
    model.dispose();
  },
);

describe("paths", () => {
  it("through keys of a whole KV head move every query head that reads it", async () => {
    const model = await loadFamily("llama-gqa");
    const common = { pairs: [PAIR], through: "k" } as const;
    const [alone, both, group] = [
      await patchPaths(model, { ...common, into: ["1.2"] }),
      await patchPaths(model, { ...common, into: ["1.2", "1.3"] }),
      await patchPaths(model, { ...common, into: ["1.2"], kvGroup: true }),
    ];
    expect(group.receivers).toEqual(["KV 1.1"]);
    expect(alone.receivers).toEqual(["1.2"]);
    for (const [h, value] of group.patched[0]!.entries()) expect(value).toBeCloseTo(both.patched[0]![h]!, 4);
    expect(Math.abs(alone.patched[0]![0]! - group.patched[0]![0]!)).toBeGreaterThan(1e-3);
    model.dispose();
  });

  it("into parts of several layers change what each of them reads, and keep no tensor", async () => {
    const model = randomModel(smallConfig());
    const pair = {
      ...PAIR,
      clean: PAIR.clean.slice(0, 6),
      corrupt: PAIR.corrupt.slice(0, 6).map((id) => (id + 9) % 96),
    };
    const common = { pairs: [pair], through: "v", direction: "noise" } as const;
    await patchPaths(model, { ...common, into: ["1.2", "2.0", "m2", "logits"], from: ["0.1", "m1", "2.3"] });
    const before = tf.memory().numTensors;
    const all = await patchPaths(model, {
      ...common,
      into: ["1.2", "2.0", "m2", "logits"],
      from: ["0.1", "m1", "2.3"],
    });
    expect(tf.memory().numTensors).toBe(before);
    expect(all.patched.map((row) => row.map((value) => value !== null))).toEqual(
      Array.from({ length: 3 }, (_, l) => Array.from({ length: 6 }, (_, h) => ["0.1", "2.3"].includes(`${l}.${h}`))),
    );
    expect(all.patchedMlps).toEqual([null, expect.any(Number), null]);
    expect(all).not.toHaveProperty("patchedEmbed");
    // A sender reaches the receivers behind it alone.
    const later = await patchPaths(model, { ...common, into: ["m2", "logits"], from: ["2.3"] });
    expect(all.patched[2]![3]).toBeCloseTo(later.patched[2]![3]!, 4);
    model.dispose();
  });

  it("with the MLPs computed again from the embedding and all heads held are those through the MLPs", async () => {
    const model = randomModel(smallConfig({ attn_only: true }));
    const pairs = [{ ...PAIR, clean: [1, 2, 3], corrupt: [1, 5, 3] }];
    const common = { pairs, into: ["2.0"], through: "q" as const };
    const [frozen, recomputed] = [
      await patchPaths(model, { ...common, from: ["heads", "embed"] }),
      await patchPaths(model, { ...common, from: ["heads", "embed"], mlps: "recomputed" }),
    ];
    // In a model without MLPs both are the same.
    expect(frozen.patchedEmbed).toBeCloseTo(recomputed.patchedEmbed!, 4);
    for (const [h, value] of frozen.patched[1]!.entries()) expect(value).toBeCloseTo(recomputed.patched[1]![h]!, 4);
    model.dispose();
  });

  it.each([
    { into: ["1.2"] },
    { into: ["1.2"], through: "q", from: ["1.0"] },
    { into: ["1.2"], through: "q", from: ["m1"] },
    { into: ["1.2"], through: "q", from: ["logits"] },
    { into: ["0.2"], through: "q", from: ["heads"] },
    { into: ["m7"] },
    { into: ["1.9"], through: "q" },
    { into: ["1.2"], through: "q", mlps: "direct" },
    { into: ["1.2"], through: "q", form: "direct" },
  ])("refuses what cannot be: %j", async (options) => {
    const model = randomModel(smallConfig());
    const pairs = [{ ...PAIR, clean: [1, 2, 3], corrupt: [1, 5, 3] }];
    await expect(patchPaths(model, { pairs, ...options } as never)).rejects.toMatchObject({ kind: "usage" });
    model.dispose();
  });
});
