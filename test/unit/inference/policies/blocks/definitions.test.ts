import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import type { SparseShape } from "../../../../../backend/common/words.ts";
import { aShape } from "../../../../../backend/inference/policies/blocks/a-shape.ts";
import { flexSquares } from "../../../../../backend/inference/policies/blocks/flexprefill.ts";
import { fullLayers, longgen } from "../../../../../backend/inference/policies/blocks/longgen.ts";
import { minference } from "../../../../../backend/inference/policies/blocks/minference.ts";
import { s2Attention } from "../../../../../backend/inference/policies/blocks/s2-attention.ts";
import { triShape } from "../../../../../backend/inference/policies/blocks/tri-shape.ts";
import { antidiagonalScores, coveringSquares } from "../../../../../backend/inference/policies/blocks/xattention.ts";
import type { BlockPolicy, PromptView } from "../../../../../backend/inference/policies/kinds/blocks.ts";
import { LayerPatterns, recallOf } from "../../../../../backend/inference/policies/prompt/patterns.ts";
import type { Squares } from "../../../../../backend/inference/policies/prompt/squares.ts";
import { initBackend } from "../../../../../backend/runtime/backend.ts";
import { tf } from "../../../../../backend/runtime/tf.ts";
import { smallConfig } from "../../../../helpers/models.ts";
import { drawnInput, type PolicyDefinition, policyDefinitions } from "../../../../helpers/oracles/policies.ts";

beforeAll(async () => void (await initBackend()));
const { seed, sections } = policyDefinitions();

/** The oracle's queries and keys of four heads that differ, as `with_sinks` of policies.py makes them. @param times both */
function view({ inputs, parameters }: PolicyDefinition, side: number, times = 1): PromptView {
  const [heads, tokens, width] = inputs["q"]!.shape as [number, number, number];
  const [q, k] = ["q", "k"].map((name) => tf.unstack(tf.tensor([...drawnInput(inputs[name]!, seed)], [heads, tokens, width])) as Tensor[]) as [Tensor[], Tensor[]]; // biome-ignore format: one line
  q[1] = tf.add(q[1]!, 1);
  k[1] = tf.add(k[1]!, tf.pad(tf.fill([2, width], 2), [[0, tokens - 2], [0, 0]])); // biome-ignore format: one line
  q[2] = tf.add(q[2]!, tf.mul(k[2]!, 3));
  q[3] = tf.div(q[3]!, 8);
  expect(tokens).toBe(parameters!["tokens"]);
  const config = smallConfig({ n_heads: heads, n_key_value_heads: heads, d_head: width, attn_scale: 1 / Math.sqrt(width) }); // biome-ignore format: one line
  const [queries, keys] = [tf.mul(tf.stack(q), times), tf.mul(tf.stack(k), times)];
  return { config, layer: 0, start: 0, tokens, side, queries, lastQueries: lastOf(queries), keys, values: keys };
}

const lastOf = (queries: Tensor) => (count: number): Tensor => tf.slice(queries, [0, queries.shape[1]! - count, 0], [-1, count, -1]); // biome-ignore format: one line

/** A prompt of which only positions matter. */
function positions(tokens: number, side: number, start = 0): PromptView {
  const nothing = tf.zeros([1]);
  return { config: smallConfig({ n_layers: 7, n_heads: 3 }), layer: 0, start, tokens, side, queries: nothing, lastQueries: () => nothing, keys: nothing, values: nothing }; // biome-ignore format: one line
}

const rowsOf = (squares: Squares, head = 0): number[][] =>
  Array.from({ length: squares.down }, (_, row) => squares.columns(head, row));

/** The rule of a policy's squares. */
function chosen<P extends Record<string, unknown>>(policy: unknown, given: PromptView, params: P): Squares {
  return (policy as BlockPolicy).choose(given, params, undefined) as Squares;
}

describe("squares follow the NumPy program of their definition", () => {
  const fixed = sections["fixed-patterns"]!;
  const { tokens, blocks, sinks, local, last, blockLocal, stride, blockSinks } = fixed.parameters as Record<string, number>; // biome-ignore format: one line

  it("a-shape and tri-shape, of squares of one token", () => {
    expect(rowsOf(chosen(aShape, positions(tokens!, 1), { sinks, local }))).toEqual(fixed["a-shape"]);
    expect(rowsOf(chosen(triShape, positions(tokens!, 1), { sinks, local, last }))).toEqual(fixed["tri-shape"]);
  });

  it("a-shape and tri-shape, of larger squares: those with any of the tokens", () => {
    for (const [policy, name] of [[aShape, "a-shape"], [triShape, "tri-shape"]] as const) // biome-ignore format: one line
      for (const side of [2, 3, 4]) {
        const rows = fixed[name] as number[][];
        const any = Array.from({ length: Math.ceil(tokens! / side) }, (_, row) => {
          const keys = rows.slice(row * side, (row + 1) * side).flat();
          return [...new Set([...keys.map((key) => Math.floor(key / side)), row])].sort((a, b) => a - b);
        });
        expect(rowsOf(chosen(policy, positions(tokens!, side), { sinks, local, last }))).toEqual(any);
      }
  });

  it("s2-attention and longgen", () => {
    const given = positions(4 * blocks!, 4);
    const squares = chosen(s2Attention, given, { local: blockLocal, stride });
    expect([0, 1, 2].map((head) => rowsOf(squares, head))).toEqual(fixed["s2-attention"]);
    const expected = fixed["longgen"] as { full: number[]; others: number[][] };
    expect(fullLayers(7)).toEqual(expected.full);
    const params = { sinks: blockSinks, local: blockLocal, stride };
    expect(rowsOf(chosen(longgen, given, params))).toEqual(expected.others);
    expect(chosen(longgen, { ...given, layer: expected.full[0]! }, params)).toBeUndefined();
  });

  it("minference: columns and distances from the last queries, in squares of one token", () => {
    const section = sections["minference"]!;
    const { last, sinks, local, online } = section.parameters as { last: number; sinks: number; local: number; online: [number, number] }; // biome-ignore format: one line
    const patterns = new LayerPatterns(view(section, 1), { last, sinks, local });
    for (let head = 0; head < 4; head++)
      expect(patterns.verticalSlash(head, ...online)).toEqual({
        columns: (section["columns"] as number[][])[head],
        distances: (section["distances"] as number[][])[head],
      });
  });

  it("minference: the recall of candidates, each row's own squares read in any case", () => {
    const section = sections["minference"]!;
    const parameters = section.parameters as Record<"last" | "sinks" | "local" | "block" | "from", number>;
    const { candidates } = section.parameters as unknown as { candidates: [SparseShape, number, number][] };
    const { block, ...choice } = parameters;
    const shapes = candidates.map(([pattern, a, b]) => ({ pattern, a, b }));
    const tokenwise = recallOf(view(section, 1), shapes.slice(0, 4), choice);
    const squares = view(section, block);
    const top = { ...shapes[4]!, a: Math.floor(squares.tokens / block / shapes[4]!.a) };
    const blockwise = recallOf(squares, [top], choice);
    (section["scores"] as number[][]).forEach(([...expected], head) => {
      expected[4] = (section["own"] as number[])[head]!;
      [...tokenwise[head]!, ...blockwise[head]!].forEach((score, i) => {
        expect(score).toBeCloseTo(expected[i]!, 5);
      });
    });
  });

  it("xattention", () => {
    const section = sections["xattention"]!;
    const { stride, block, threshold, times } = section.parameters as { stride: number; block: number; threshold: number; times: number }; // biome-ignore format: one line
    const given = view(section, block, times);
    const scores = antidiagonalScores(given, stride);
    const flat = [...scores.dataSync()];
    (section["scores"] as number[][][]).flat(2).forEach((expected, i) => {
      expect(flat[i]!).toBeCloseTo(expected, 5);
    });
    const squares = coveringSquares(given, flat, threshold);
    expect([0, 1, 2, 3].map((head) => rowsOf(squares, head))).toEqual(section["blocks"]);
  });

  it("flexprefill", () => {
    const section = sections["flexprefill"]!;
    const { block, gamma, tau, least } = section.parameters as { block: number; gamma: number; tau: number; least: number }; // biome-ignore format: one line
    const { heads, squares } = flexSquares(view(section, block), { gamma, tau, least: least * block });
    heads.forEach(({ divergence, ...rest }, head) => {
      expect(divergence).toBeCloseTo((section["divergence"] as number[])[head]!, 5);
      const of = <T>(name: string): T => (section[name] as T[])[head]!;
      expect(rest).toEqual({ aware: of("aware"), columns: of("columns"), distances: of("distances") });
    });
    expect([0, 1, 2, 3].map((head) => rowsOf(squares, head))).toEqual(section["blocks"]);
  });
});

describe("minference without a pattern file", () => {
  /** A prompt whose last query looks at one key. */
  function looking(tokens: number, key: number): PromptView {
    const config = smallConfig({ n_heads: 2, n_key_value_heads: 1, d_head: 8, attn_scale: 1 });
    const rows = (heads: number, place: number) => tf.tile(tf.reshape(tf.cast(tf.oneHot(tf.tensor1d([place], "int32"), tokens, 20), "float32"), [1, tokens, 1]), [heads, 1, 8]) as Tensor; // biome-ignore format: one line
    const [queries, keys] = [rows(2, tokens - 1), rows(1, key)];
    return { config, layer: 0, start: 0, tokens, side: 64, queries, lastQueries: lastOf(queries), keys, values: keys };
  }

  it.each([200, 512, 1000, 2048])(
    "reads the column that a prompt of %i tokens looks at, and all near keys",
    (tokens) => {
      const key = Math.floor(tokens / 64 / 2) * 64 + 5;
      const squares = chosen(minference, looking(tokens, key), { last: 64, sinks: 30, local: 100, question: 0 });
      for (const head of [0, 1])
        for (let row = 0; row < squares.down; row++) {
          const columns = squares.columns(head, row);
          expect(columns).toContain(0);
          if (Math.floor(key / 64) <= row) expect(columns).toContain(Math.floor(key / 64));
          for (const distance of [0, 1, 2]) if (distance <= row) expect(columns).toContain(row - distance);
        }
      if (tokens > 512) expect(squares.share).toBeLessThan(0.7);
    },
  );
});
