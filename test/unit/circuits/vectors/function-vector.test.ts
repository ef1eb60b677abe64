import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { vectorCase } from "../../../../backend/circuits/vectors/cases.ts";
import { functionVector } from "../../../../backend/circuits/vectors/function-vector.ts";
import { runWithCache, runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { probe } from "../../../../probes/index.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

// Prompts of three lengths: only their last positions meet.
const rows = randomTokens(3, 12, 96);
const cases = rows.map((row, r) => ({
  clean: row.slice(r),
  shuffled: row.slice(2).toReversed(),
  zero: row.slice(-3 - r),
  answer: 5 + r,
}));

/** An answer's probability and rank, from the logits of the last position. */
function answerOf(logits: Tensor, answer: number): { probability: number; rank: number } {
  const rowsOf = logits.arraySync() as number[][][];
  const last = rowsOf[0]!.at(-1)!;
  logits.dispose();
  const sum = last.reduce((total, x) => total + Math.exp(x), 0);
  return { probability: Math.exp(last[answer]!) / sum, rank: last.filter((x) => x > last[answer]!).length };
}

/** Mean outputs of the heads of a layer at the end of the clean prompts [heads][d_head]. */
function meanOutputs(layer: number): number[][] {
  const name = `blocks.${layer}.attn.hook_z`;
  const outputs = cases.map(({ clean }) => {
    const { logits, cache } = runWithCache(model, [clean], { names: [name] });
    const z = (cache.get(name).arraySync() as number[][][][])[0]!.at(-1)!;
    logits!.dispose();
    cache.dispose();
    return z;
  });
  return outputs[0]!.map((row, h) => row.map((_, d) => outputs.reduce((sum, z) => sum + z[h]![d]!, 0) / 3));
}

/** A function on an activation that changes its last position. @param change [positions from the end] */
const atEnd = (x: Tensor, end: (last: Tensor) => Tensor): Tensor => {
  const T = x.shape[1]!;
  const parts = tf.split(x, T === 1 ? [1] : [T - 1, 1], 1);
  return tf.concat([...parts.slice(0, -1), end(parts.at(-1)!)], 1);
};

describe("function vectors", () => {
  it("score a head by what its mean output does at the end of the shuffled prompts, as an eager hook does", async () => {
    const { effects, perCase } = await functionVector(model, { cases, top: 4 });
    for (const [layer, head] of [[0, 5], [1, 2], [2, 0]] as const) {
      const mean = meanOutputs(layer)[head]!;
      const own = tf.oneHot([head], 6).reshape([1, 1, 6, 1]);
      cases.forEach(({ shuffled, answer }, c) => {
        const hook = (z: Tensor): Tensor =>
          atEnd(z, (last) => tf.add(tf.mul(last, tf.sub(1, own)), tf.mul(own, tf.tensor(mean, [1, 1, 1, 8]))));
        const patched = runWithHooks(model, [shuffled], { hooks: [[`blocks.${layer}.attn.hook_z`, hook]] })!;
        const { probability } = answerOf(patched, answer);
        const clean = answerOf(runWithHooks(model, [shuffled])!, answer).probability;
        expect(perCase[c]!.shuffled).toBeCloseTo(clean, 5);
        expect(effects[c]![layer]![head]).toBeCloseTo(probability - clean, 5);
      });
      own.dispose();
    }
  }); // biome-ignore format: one line

  it("are the sum of what the best heads write, and change the answers where they are added", async () => {
    meanOutputs(0); // the model keeps the tables of its first run
    const before = tf.memory().numTensors;
    const { effects, top, vector, zeroShot } = await functionVector(model, { cases, top: 2, layers: [0, 2] });
    expect(tf.memory().numTensors).toBe(before);
    const mean = (layer: number, head: number): number => effects.reduce((sum, table) => sum + table[layer]![head]!, 0);
    const best = Math.max(...effects[0]!.flatMap((row, l) => row.map((_, h) => mean(l, h))));
    const places = top.map((name) => name.split(".").map(Number) as [number, number]);
    expect(mean(...places[0]!)).toBe(best);
    const written = places.map(([layer, head]) => {
      const W_O = parameter(model, `blocks.${layer}.attn.W_O`);
      const rowsOf = (W_O.arraySync() as number[][][])[head]!;
      W_O.dispose();
      const z = meanOutputs(layer)[head]!;
      return rowsOf[0]!.map((_, d) => rowsOf.reduce((sum, row, i) => sum + z[i]! * row[d]!, 0));
    });
    vector.forEach((x, d) => {
      expect(x).toBeCloseTo(written[0]![d]! + written[1]![d]!, 4);
    });
    expect(Object.keys(zeroShot).sort()).toEqual(["0", "2", "none"]);
    for (const layer of [0, 2]) {
      const hook = (resid: Tensor): Tensor => atEnd(resid, (last) => tf.add(last, tf.tensor(vector, [1, 1, 48])));
      const added = cases.map(({ zero, answer }) =>
        answerOf(runWithHooks(model, [zero], { hooks: [[`blocks.${layer}.hook_resid_post`, hook]] })!, answer),
      );
      expect(zeroShot[layer]!.ranks).toEqual(added.map(({ rank }) => rank));
      expect(zeroShot[layer]!.probability).toBeCloseTo(added.reduce((sum, { probability }) => sum + probability, 0) / 3, 5); // biome-ignore format: one line
    }
  });

  it("refuse layers and heads that there are not, and options that are none", async () => {
    await expect(functionVector(model, { cases, layers: [3] })).rejects.toMatchObject({ kind: "usage" });
    await expect(functionVector(model, { cases, top: 19 })).rejects.toMatchObject({ kind: "usage" });
    await expect(functionVector(model, { cases: [] })).rejects.toMatchObject({ kind: "usage", field: "cases" });
  });

  it("are a probe, whose document has the vector beside the scores", async () => {
    const scores = await probe(model, "function-vector", { layers: "1" }, { cases });
    expect(scores.metrics["function-vector"]!.trials).toHaveLength(3);
    expect(scores["top"]).toHaveLength(10);
    expect(scores["vector"]).toHaveLength(48);
    expect(Object.keys(scores["zeroShot"] as object)).toEqual(expect.arrayContaining(["none", "1"]));
    expect(scores["perCase"]).toHaveLength(3);
    const tiny = randomModel(smallConfig({ n_layers: 1 }));
    expect((await probe(tiny, "function-vector", {}, { cases })).params).toEqual({ top: 6, layers: [0] });
    await expect(probe(model, "function-vector")).rejects.toMatchObject({ kind: "usage" });
    await expect(probe(model, "function-vector", {}, { tokens: rows })).rejects.toMatchObject({ kind: "usage" });
  });
});

describe("cases of a function vector", () => {
  const good = { clean: [1, 2, 3], shuffled: [2, 1, 3], zero: [3], answer: 4 };
  it.each([
    ["no object", 3],
    ["a field that there is not", { ...good, zeroShot: [3] }],
    ["no shuffled prompt", { clean: [1, 2, 3], zero: [3], answer: 4 }],
    ["an id outside the vocabulary", { ...good, zero: [96] }],
    ["an empty prompt", { ...good, zero: [] }],
    ["an answer outside the vocabulary", { ...good, answer: 96 }],
    ["a shuffled prompt that is the clean one", { ...good, shuffled: [1, 2, 3] }],
    ["a text for a model without a tokenizer", { ...good, clean: "hot: cold" }],
  ])("%s is refused with the case's name", (_, value) => {
    expect(() => vectorCase(value, "case 2", model)).toThrow(/^case 2: /);
    expect(vectorCase(good, "case 2", model)).toEqual(good);
  });
});
