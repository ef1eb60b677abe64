import { beforeAll, describe, expect, it } from "vitest";
import { headWeights } from "../../../../backend/circuits/weights/head-weights.ts";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { toyInduction } from "../../../../backend/models/sources/constructed.ts";
import { Matrix } from "../../../../backend/models/weights/matrix.ts";
import { parameter } from "../../../../backend/models/weights/parameters.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { probe } from "../../../../probes/index.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";

type Table = number[][];

let model: Model;
let toy: Model;
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig({ tie_word_embeddings: false }));
  toy = toyInduction();
});

function read<T>(name: string, of = model): T {
  const tensor = parameter(of, name);
  const values = tensor.arraySync() as T;
  tensor.dispose();
  return values;
}

const times = (a: Table, b: Table): Table =>
  a.map((row) => b[0]!.map((_, c) => row.reduce((sum, x, i) => sum + x * b[i]![c]!, 0)));
const flipped = (a: Table): Table => a[0]!.map((_, c) => a.map((row) => row[c]!));
const norm = (a: Table): number => Math.hypot(...a.flat());

/** A head's OV and QK, formed as they stand in the definition; query head h reads KV head h / 3. */
function circuits(layer: number, head: number): { ov: Table; qk: Table } {
  const all = (name: string, index: number): Table => read<Table[]>(`blocks.${layer}.attn.${name}`)[index]!;
  const kv = Math.floor(head / 3);
  return {
    ov: times(all("W_V", kv), all("W_O", head)),
    qk: times(all("W_Q", head), flipped(all("W_K", kv))),
  };
}

/** The largest singular value, by the power method. */
function largestSingular(a: Table): number {
  const square = times(flipped(a), a);
  let x: Table = square.map((_, i) => [Math.sin(i + 1)]);
  let size = 0;
  for (let i = 0; i < 3000; i++) {
    x = times(square, x);
    size = norm(x);
    x = x.map(([value]) => [value! / size]);
  }
  return Math.sqrt(size);
}

const heads = [
  { layer: 0, head: 1 },
  { layer: 0, head: 4 },
  { layer: 2, head: 5 },
  { layer: 1, head: 0 },
];

describe("heads in the weights", () => {
  it("have the norms and the largest singular value of the matrices themselves, on grouped queries", async () => {
    const before = tf.memory().numTensors;
    const found = await headWeights(model, { heads });
    expect(tf.memory().numTensors).toBe(before);
    expect(found.heads.map(({ head }) => head)).toEqual(["0.1", "0.4", "2.5", "1.0"]);
    found.heads.forEach(({ ov, qk }, i) => {
      const own = circuits(heads[i]!.layer, heads[i]!.head);
      for (const name of ["ov", "qk"] as const) {
        const { singular, norm: size } = { ov, qk }[name];
        expect(size).toBeCloseTo(norm(own[name]), 3);
        expect(singular[0]).toBeCloseTo(largestSingular(own[name]), 3);
        expect(singular).toHaveLength(5);
      }
    });
  });

  it("compose as the products of whole matrices do, every earlier head with every later one", async () => {
    const { composition } = await headWeights(model, { heads });
    expect(composition.map(({ from, to }) => `${from} ${to}`).sort()).toEqual(
      ["0.1 1.0", "0.1 2.5", "0.4 1.0", "0.4 2.5", "1.0 2.5"].sort(),
    );
    for (const { from, to, q, k, v } of composition) {
      const [s, r] = [from, to].map((name) => circuits(...(name.split(".").map(Number) as [number, number])));
      const share = (a: Table, b: Table): number => norm(times(a, b)) / (norm(a) * norm(b));
      expect(q).toBeCloseTo(share(s!.ov, r!.qk), 5);
      expect(k).toBeCloseTo(share(s!.ov, flipped(r!.qk)), 5);
      expect(v).toBeCloseTo(share(s!.ov, r!.ov), 5);
    }
    const all = (await headWeights(model, { heads: [heads[0]!], composition: "all" })).composition;
    expect(all).toHaveLength(3 * 36);
  });

  it("list the largest entries of the circuit over the whole vocabulary, and the ranks of its diagonal", async () => {
    const [found] = (await headWeights(model, { heads: [heads[2]!], tokenPairs: 9 })).tokenPairs!;
    const whole = times(times(read<Table>("embed.W_E"), circuits(2, 5).ov), read<Table>("unembed.W_U"));
    const entries = whole.flatMap((row, source) => row.map((value, target) => ({ source, target, value })));
    entries.sort((a, b) => b.value - a.value);
    found!.pairs.forEach(({ source, target, value }, i) => {
      expect({ source, target }).toEqual({ source: entries[i]!.source, target: entries[i]!.target });
      expect(value).toBeCloseTo(entries[i]!.value, 3);
    });
    const ranks = whole.map((row, token) => row.filter((value) => value > row[token]!).length);
    const sorted = ranks.toSorted((a, b) => a - b);
    expect(found!.diagonal.top1).toBeCloseTo(ranks.filter((rank) => rank === 0).length / 96, 6);
    expect(found!.diagonal.top10).toBeCloseTo(ranks.filter((rank) => rank < 10).length / 96, 6);
    expect(found!.diagonal.median).toBe((sorted[47]! + sorted[48]!) / 2);
    expect(found!.diagonal.mean).toBeCloseTo(ranks.reduce((a, b) => a + b) / 96, 6);
  });

  it("show the constructed induction circuit: its head copies, and reads its keys from the previous-token head", async () => {
    const whole = { heads: [{ layer: 1, head: 1 }], tokenPairs: 3, composition: "all" } as const;
    const { heads: found, composition, tokenPairs } = await headWeights(toy, whole);
    expect(found[0]!.copying).toBeCloseTo(1, 4);
    expect(tokenPairs![0]!.diagonal).toEqual({ top1: 1, top10: 1, median: 0, mean: 0 });
    for (const { source, target } of tokenPairs![0]!.pairs) expect(target).toBe(source);
    const [strongest] = composition.filter(({ to }) => to === "1.1").toSorted((a, b) => b.k - a.k);
    expect(strongest!.from).toBe("0.0");
  });

  it("copy the other way round when the output is turned, and not at all without one", async () => {
    const turned = randomModel(smallConfig({ tie_word_embeddings: false }));
    const first = (await headWeights(turned, { heads })).heads;
    const o = turned.weights.blocks[0]!.o;
    const values = o.widen().dataSync();
    for (const [factor, expected] of [
      [-1, -first[0]!.copying!],
      [0, 0],
    ] as const) {
      turned.weights.blocks[0]!.o = Matrix.fromValues(
        Float32Array.from(values, (x) => x * factor),
        o.shape,
      );
      const { copying, ov } = (await headWeights(turned, { heads: [heads[0]!] })).heads[0]!;
      expect(copying).toBeCloseTo(expected, 5);
      expect(ov.norm === 0).toBe(factor === 0);
    }
  });

  it("have a kernel of positions that is the mean score of rotated queries and keys", async () => {
    // Without norm or position the queries and keys of layer 0 are those of the embeddings.
    const plain = randomModel(smallConfig({ d_vocab: 7, normalization_type: null, final_norm: false, attn_scale: 1 }));
    const tokens = Array.from({ length: 7 * 7 }, (_, i) => [i % 7, 3, Math.floor(i / 7)]);
    const { logits, cache } = runWithCache(plain, tokens, {
      names: (name) => name === "blocks.0.attn.hook_attn_scores",
    });
    const scores = cache.get("blocks.0.attn.hook_attn_scores").arraySync() as number[][][][];
    const { positions } = await headWeights(plain, { heads: [{ layer: 0, head: 4 }], distances: 3 });
    const mean = (rows: number[][][][]): number => rows.reduce((sum, row) => sum + row[4]![2]![0]!, 0) / rows.length;
    expect(positions![0]!.mean[2]).toBeCloseTo(mean(scores), 3);
    expect(positions![0]!.same![2]).toBeCloseTo(mean(scores.filter((_, i) => tokens[i]![0] === tokens[i]![2])), 3);
    tf.dispose(logits!);
    cache.dispose();
  });

  it("are refused of a head that there is not, and beyond the context", async () => {
    await expect(headWeights(model, { heads: [] })).rejects.toMatchObject({ kind: "usage" });
    await expect(headWeights(model, { heads: [{ layer: 3, head: 0 }] })).rejects.toMatchObject({ kind: "usage" });
    await expect(headWeights(model, { heads, distances: 1201 })).rejects.toMatchObject({ kind: "usage" });
    await expect(headWeights(model, { heads, tokenPairs: -1 })).rejects.toMatchObject({ field: "tokenPairs" });
  });

  it("have no copying or matching score in a model that reads vectors", async () => {
    const reader = randomModel(smallConfig({ d_input: 5, d_vocab_out: 3, tie_word_embeddings: false }));
    const { heads: found } = await headWeights(reader, { heads });
    expect(found[0]).not.toHaveProperty("copying");
    await expect(headWeights(reader, { heads, tokenPairs: 2 })).rejects.toMatchObject({ kind: "unsupported" });
  });

  it("are scored by the probes copying and matching, every head alike", async () => {
    const all = await headWeights(model, { heads: heads });
    for (const name of ["copying", "matching"] as const) {
      const { metrics } = await probe(model, name);
      all.heads.forEach((own, i) => {
        const { layer, head } = heads[i]!;
        expect(metrics[name]!.values[layer]![head]).toBeCloseTo(own[name]!, 6);
      });
      await expect(probe(model, name, {}, { tokens: [[1, 2]] })).rejects.toMatchObject({ kind: "usage" });
    }
  });
});
