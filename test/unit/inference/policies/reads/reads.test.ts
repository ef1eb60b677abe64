import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { policies } from "../../../../../backend/inference/policies/index.ts";
import type { Knowledge, ReadPolicy, ReadView } from "../../../../../backend/inference/policies/kinds/reads.ts";
import { cluster } from "../../../../../backend/inference/policies/reads/clusters.ts";
import { calibrated, clusterScores } from "../../../../../backend/inference/policies/reads/squeezed-attention.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, type PolicyDefinition, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

beforeAll(async () => void (await initBackend()));
const { seed, sections } = policyDefinitions();

function drawn({ inputs }: PolicyDefinition, name: string): Tensor {
  return tf.tensor([...drawnInput(inputs[name]!, seed)], inputs[name]!.shape);
}

/** Tokens in view: from `first` to before `end`; step 0 is the prompt. */
interface Moment {
  first: number;
  end: number;
  step: number;
  budget: number;
  layer?: number;
}

/** A layer's view of queries [heads, positions, d] and keys [KV heads, positions, d]. */
function viewOf(q: Tensor, k: Tensor, { first, end, step, budget, layer = 0 }: Moment): ReadView {
  const [heads, , width] = q.shape as [number, number, number];
  const [kvHeads] = k.shape as [number];
  const shape = { n_heads: heads, n_key_value_heads: kvHeads, d_head: width, attn_scale: 1 / Math.sqrt(width) };
  return {
    config: smallConfig(shape),
    ...{ layer, length: end, tokens: end - first, step, kvHeads, held: end, moved: false, budget },
    queries: tf.slice(q, [0, first, 0], [heads, end - first, width]),
    keysOf: (from, count) => tf.slice(k, [0, from, 0], [kvHeads, count, width]),
  };
}

/** What a policy reads at each new token [step][KV head]; undefined where all. */
function read(
  name: string,
  [q, k]: [Tensor, Tensor],
  { params, ...moment }: { params: object; tokens: number; steps: number; budget: number },
) {
  const policy = policies.get(name) as ReadPolicy;
  const all = policies.parse(name, params as Record<string, unknown>);
  let known: Knowledge | undefined;
  return Array.from({ length: moment.steps }, (_, i) => {
    const place = { first: moment.tokens + i, end: moment.tokens + i + 1, step: i + 1, budget: moment.budget };
    const view = viewOf(q, k, place);
    known = policy.learn(view, known, all);
    const chosen = policy.choose(view, known, all, [known]);
    return chosen?.map((stretches) =>
      stretches.flatMap(([first, end]) => Array.from({ length: end - first }, (_, j) => first + j)),
    );
  });
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("policies read what a NumPy program of their definition reads", () => {
  it("quest", () => {
    const section = sections["quest"]!;
    const { tokens, steps, page, budget } = section.parameters as Record<string, number>;
    const seen = read("quest", [drawn(section, "q"), drawn(section, "k")], {
      params: { page, budget: 13 },
      ...{ tokens: tokens!, steps: steps!, budget: budget! },
    });
    const pages = (section["pages"] as number[][][]).map((step, i) =>
      step.map((own) =>
        own.flatMap((each) => range(page!).map((j) => each * page! + j)).filter((p) => p <= tokens! + i),
      ),
    );
    expect(seen).toEqual(pages);
  });

  it("recycled-attention", () => {
    const section = sections["recycled-attention"]!;
    const { tokens, steps, stride, budget } = section.parameters as Record<string, number>;
    const seen = read("recycled-attention", [drawn(section, "q"), drawn(section, "k")], {
      params: { stride, budget },
      ...{ tokens: tokens!, steps: steps!, budget: budget! },
    });
    const expected = section["read"] as number[][][];
    seen.forEach((heads, step) => {
      if (step % stride! === 0) expect(heads).toBeUndefined();
      else expect(heads).toEqual(expected[step]);
    });
  });

  it("token-select", () => {
    const section = sections["token-select"]!;
    const { tokens, steps, sinks, recent, budget, similarity } = section.parameters as Record<string, number>;
    const [start, noise] = [drawn(section, "q0"), drawn(section, "e")];
    const [heads, width] = start.shape as [number, number];
    const moves = tf.mul(tf.concat([tf.zeros([1, heads, width]), tf.slice(noise, 1)]), 0.5);
    const own = tf.transpose(tf.add(tf.cumsum(moves, 0), start), [1, 0, 2]);
    const q = tf.concat([tf.zeros([heads, tokens!, width]), own], 1);
    const total = budget! + sinks! + recent!;
    const seen = read("token-select", [q, drawn(section, "k")], {
      params: { sinks, recent, similarity, budget: total },
      ...{ tokens: tokens!, steps: steps!, budget: total },
    });
    const expected = section["read"] as number[][];
    expect(seen).toEqual(expected.map((list) => [list, list]));
  });

  it("token-select, in a part of a prompt by the votes of each of its queries, also of those that cancel out", () => {
    const policy = policies.get("token-select") as ReadPolicy;
    const params = policies.parse("token-select", { sinks: 1, recent: 2, budget: 5 });
    // Two queries that look for opposite keys: place 5 and place 9 of 12, where all others are 0.
    const keys = tf.buffer([1, 14, 2], "float32");
    keys.set(6, 0, 5, 0);
    keys.set(-6, 0, 9, 0);
    const queries = tf.buffer([1, 14, 2], "float32");
    queries.set(6, 0, 12, 0);
    queries.set(-6, 0, 13, 0);
    const view = viewOf(queries.toTensor(), keys.toTensor(), { first: 12, end: 14, step: 0, budget: 5 });
    const [own] = policy.choose(view, policy.learn(view, undefined, params), params, [])!;
    expect(own).toEqual([[0, 1], [5, 6], [9, 10], [11, 14]]); // biome-ignore format: one line
  });

  it("token-select, until as many tokens have come as are recent, also where the query stays the same", () => {
    const policy = policies.get("token-select") as ReadPolicy;
    const params = policies.parse("token-select", { sinks: 1, recent: 3, budget: 5 });
    const [queries, keys] = [tf.ones([1, 40, 2]), tf.buffer([1, 40, 2], "float32")];
    for (const [place, size] of [[4, 3], [15, 5]] as const) keys.set(size, 0, place, 0); // biome-ignore format: one line
    const learn = (first: number, end: number, before?: Knowledge) => {
      const view = viewOf(queries, keys.toTensor(), { first, end, step: 0, budget: 5 });
      return policy.learn(view, before, params);
    };
    const part = learn(10, 20);
    expect(part["places"]).toEqual([4]);
    const later = learn(20, 30, part); // place 15 came after the choice, and is recent no more
    expect(later["places"]).toEqual([15]);
    const next = learn(30, 31, later);
    expect(next).not.toBe(later);
    expect(learn(31, 32, next)).toBe(next);
  });

  it("actqkv, of layers whose entropies are known", () => {
    const section = sections["actqkv"]!;
    const {
      layers: L,
      tokens,
      chunk,
      block,
      budget,
      firstLayerKeysTimes,
    } = section.parameters as Record<string, number>;
    const policy = policies.get("actqkv") as ReadPolicy;
    const params = policies.parse("actqkv", { block, budget: budget! * block! });
    const split = (name: string): Tensor[] => tf.split(drawn(section, name), L!, 0);
    const [queries, keys] = [split("q"), split("k")];
    keys[0] = tf.mul(keys[0]!, firstLayerKeysTimes!);
    const views = queries.map((q, layer) => {
      const width = q.shape[2]!;
      const k = tf.concat([keys[layer]!, tf.zeros([2, chunk!, width])], 1);
      return [
        viewOf(q, k, { first: 0, end: tokens!, step: 0, budget: budget! * block!, layer }),
        viewOf(q, k, { first: tokens!, end: tokens! + chunk!, step: 0, budget: budget! * block!, layer }),
      ] as const;
    });
    const known = views.map(([before, now]) => policy.learn(now, policy.learn(before, undefined, params), params));
    known.forEach(({ entropy, weights }, layer) => {
      expect(entropy).toBeCloseTo((section["entropy"] as number[])[layer]!, 5);
      const expected = (section["scores"] as number[][][])[layer]!;
      (weights as Tensor).arraySync();
      ((weights as Tensor).arraySync() as number[][]).forEach((row, g) => {
        row.forEach((weight, i) => void expect(weight).toBeCloseTo(expected[g]![i]!, 5));
      });
    });
    const blocks = views.map(([, now], layer) =>
      policy
        .choose(now, known[layer]!, params, known)!
        .map((stretches) =>
          stretches.flatMap(([a, b]) => range(Math.ceil((b - a) / block!)).map((i) => a / block! + i)),
        ),
    );
    const end = tokens! / block!;
    expect(blocks.map((heads) => heads.map((list) => list.filter((i) => i < end)))).toEqual(section["blocks"]);
  });

  it("squeezed-attention: clusters, scores and thresholds", () => {
    const section = sections["squeezed-attention"]!;
    const { tokens, queries, clusters, sparsity } = section.parameters as Record<string, number>;
    const [q, k] = [drawn(section, "q"), drawn(section, "k")];
    const { assign, sizes, centroids } = cluster(tf.slice(k, [0, 0, 0], [-1, tokens!, -1]), {
      count: clusters!,
      iterations: 30,
    });
    expect(assign.map((own) => [...own])).toEqual(section["assign"]);
    expect(sizes).toEqual(section["sizes"]);
    const means = centroids.arraySync() as number[][][];
    (section["centroids"] as number[][][]).forEach((heads, g) => {
      heads.forEach((row, i) => {
        row.forEach((x, c) => void expect(means[g]![i]![c]!).toBeCloseTo(x, 5));
      });
    });
    const view = viewOf(q, k, { first: tokens!, end: tokens! + queries!, step: 0, budget: 0 });
    const scores = clusterScores(view, view.queries, { sizes, centroids });
    const expected = section["scores"] as number[][][]; // [query][head][cluster]
    const group = expected[0]!.length / sizes.length;
    scores.forEach((rows, g) => {
      rows.forEach((row, n) => {
        row.forEach((score, i) => {
          const heads = range(group).map((h) => expected[n]![g * group + h]![i]!);
          expect(score).toBeCloseTo(Math.max(...heads), 5);
        });
      });
    });
    calibrated(scores, sizes, (1 - sparsity!) * tokens!).forEach((threshold, g) => {
      expect(threshold).toBeCloseTo((section["calibrated"] as number[])[g]!, 5);
    });
  });

  it("squeezed-attention of two levels", () => {
    const section = sections["squeezed-attention"]!;
    const { tokens: T, queries: N, clusters, sparsity } = section.parameters as Record<"tokens" | "queries" | "clusters" | "sparsity", number>; // biome-ignore format: one line
    const { parameters, assign, thresholds, read } = section["levels"] as {
      parameters: { coarse: number; ruledOut: number };
      assign: number[][];
      thresholds: number[];
      read: number[][][];
    };
    const [q, k] = [drawn(section, "q"), drawn(section, "k")];
    const policy = policies.get("squeezed-attention") as ReadPolicy;
    const params = policies.parse("squeezed-attention", {
      ...{ levels: 2, clusters: clusters / T, coarse: parameters.coarse / T, ruledOut: parameters.ruledOut },
      ...{ ratio: sparsity, window: N, iterations: 30 },
    });
    // The definition's queries set the thresholds, each of them then reads as a first new token.
    const moment = { step: 0, budget: 0 };
    const prompt = policy.learn(viewOf(q, k, { ...moment, first: T, end: T + N }), undefined, params);
    for (let n = 0; n < N; n++) {
      const own = tf.concat([tf.zeros([q.shape[0]!, T, q.shape[2]!]), tf.slice(q, [0, T + n, 0], [-1, 1, -1])], 1);
      const view = viewOf(own, tf.slice(k, [0, 0, 0], [-1, T + 1, -1]), { ...moment, first: T, end: T + 1, step: 1 });
      const known = policy.learn(view, prompt, params);
      const coarse = known["coarse"] as { assign: Int32Array[]; thresholds: number[] };
      expect(coarse.assign.map((heads) => [...heads])).toEqual(assign);
      coarse.thresholds.forEach((threshold, g) => void expect(threshold).toBeCloseTo(thresholds[g]!, 5));
      const places = policy
        .choose(view, known, params, [known])!
        .map((stretches) => stretches.flatMap(([first, end]) => range(end - first).map((i) => first + i)));
      expect(places).toEqual(read[n]!.map((list) => [...list, T]));
    }
  });
});
