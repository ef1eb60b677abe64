import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runWithCache } from "../../../../backend/hooks/run.ts";
import { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { type AnatomyValues, measureAnatomy } from "../../../../experiments/attention-sink/anatomy.ts";
import { judge } from "../../../../experiments/attention-sink/sink-anatomy.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { wordModel } from "../../../helpers/texts/word-model.ts";

const TEXT = "one two three four five six seven eight nine ten eleven";
const SETTINGS = { text: TEXT, windows: 2, tokens: 8 };
const means = { progress: () => {}, signal: new AbortController().signal };
const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
const norm = (vector: readonly number[]): number => Math.hypot(...vector);
const cosine = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0) / norm(a) / norm(b); // biome-ignore format: one line

describe("the anatomy of a first token", () => {
  let model: Model;
  beforeAll(async () => {
    await initBackend();
    const { ref, family, digest, config, weights } = randomModel(smallConfig({ d_vocab: 200 }));
    model = new Model({ ref, family, digest, config, weights, tokenizer: wordModel().tokenizer });
  });
  afterAll(() => model.dispose());

  it("is that of plain sums over windows, heads and positions, and leaves no tensor", async () => {
    await measureAnatomy(model, SETTINGS, means);
    const tensors = tf.memory().numTensors;
    const values = await measureAnatomy(model, SETTINGS, means);
    expect(tf.memory().numTensors).toBe(tensors);
    const ids = model.tokenizer!.encode(TEXT);
    const windows = [ids.slice(0, 8), ids.slice(4, 12)];
    const { cache, logits } = runWithCache(model, windows);
    logits?.dispose();
    const layer = 1;
    const array = (name: string) => cache.get(`blocks.${layer}.${name}`).arraySync();
    const hidden = array("hook_resid_pre") as number[][][];
    const [queries, keys, vectors] = ["attn.hook_rot_q", "attn.hook_rot_k", "attn.hook_v"].map((name) => array(name) as number[][][][]) as [number[][][][], number[][][][], number[][][][]]; // biome-ignore format: one line
    const pattern = array("attn.hook_pattern") as number[][][][];
    const rest = [1, 2, 3, 4, 5, 6, 7];
    const byHead = (table: number[][][][], position: number) => mean(table.flatMap((row) => row[position]!.map(norm)));
    expect(values.first.hidden.own[layer]).toBeCloseTo(mean(hidden.map((row) => norm(row[0]!))), 3);
    expect(values.first.hidden.others[layer]).toBeCloseTo(mean(rest.map((p) => mean(hidden.map((row) => norm(row[p]!))))), 3); // biome-ignore format: one line
    expect(values.first.key.own[layer]).toBeCloseTo(byHead(keys, 0), 3);
    expect(values.first.key.others[layer]).toBeCloseTo(mean(rest.map((p) => byHead(keys, p))), 3);
    expect(values.middle.value.own[layer]).toBeCloseTo(byHead(vectors, 4), 3);
    expect(values.middle.value.others[layer]).toBeCloseTo(mean([1, 2, 3, 5, 6, 7].map((p) => byHead(vectors, p))), 3);
    // Six query heads on two of keys: three each.
    const angle = (query: number, key: number) =>
      mean(queries.flatMap((row, w) => row[query]!.map((q, h) => cosine(q, keys[w]![key]![Math.floor(h / 3)]!))));
    expect(values.first.angle.own[layer]).toBeCloseTo(mean(rest.map((q) => angle(q, 0))), 4);
    const seen = (query: number) => mean(rest.filter((key) => key <= query).map((key) => angle(query, key)));
    expect(values.first.angle.others[layer]).toBeCloseTo(mean(rest.map(seen)), 4);
    expect(values.middle.angle.own[layer]).toBeCloseTo(mean([5, 6, 7].map((q) => angle(q, 4))), 4);
    expect(values.attention[layer]).toBeCloseTo(mean(pattern.flatMap((row) => row.flatMap((head) => rest.map((q) => head[q]![0]!)))), 4); // biome-ignore format: one line
    cache.dispose();
  });

  it("is refused of a text too short for that many windows", async () => {
    await expect(measureAnatomy(model, { ...SETTINGS, windows: 8 }, means)).rejects.toMatchObject({ kind: "usage", field: "windows" }); // biome-ignore format: one line
  });
});

describe("the claims on the sink's anatomy", () => {
  const ordinary = { own: [2, 2, 2], others: [2, 2, 2] };
  const angle = { own: [0.1, 0.1, 0.1], others: [0.1, 0.1, 0.1] };
  const place = { hidden: ordinary, key: ordinary, value: ordinary, angle };
  const sink = {
    hidden: { own: [2, 100, 100], others: [2, 2, 2] },
    key: { own: [2, 1, 1], others: [2, 2, 2] },
    value: { own: [2, 0.5, 0.5], others: [2, 2, 2] },
    angle: { own: [0, 0.5, 0.5], others: [0, 0.1, 0.1] },
  };
  const verdicts = (text: Partial<AnatomyValues>) =>
    Object.fromEntries(
      judge(Array.from({ length: 8 }, () => ({ first: sink, middle: place, attention: [0, 1, 1], ...text }))).map(({ id, verdict }) => [id, verdict]),
    ); // biome-ignore format: one line

  it("are borne out by a first token of long hidden state, short key and value, and aligned queries", () => {
    expect(new Set(Object.values(verdicts({})))).toEqual(new Set(["reproduced"]));
  });

  it("are not by one like the others, nor where a middle token is as well", () => {
    expect(verdicts({ first: place })).toMatchObject({ "hidden-norm": "not reproduced", "key-norm": "not reproduced", "value-norm": "not reproduced", angle: "not reproduced" }); // biome-ignore format: one line
    expect(verdicts({ middle: { ...place, value: sink.value } })["first-alone"]).toBe("not reproduced");
  });
});
