import { describe, expect, it } from "vitest";
import { EdgeGraph } from "../../../../backend/circuits/edges/graph.ts";
import type { HeadscopeError } from "../../../../backend/common/errors.ts";

const shape = { n_layers: 2, n_heads: 4, attn_only: false };

function refusal(graph: EdgeGraph, from: string, to: string): HeadscopeError {
  try {
    graph.number({ from, to });
  } catch (error) {
    return error as HeadscopeError;
  }
  throw new Error(`${from} -> ${to} is an edge`);
}

describe("the edges of a model", () => {
  it.each([
    ["two layers of four heads", shape, 110],
    ["the same with parallel blocks", { ...shape, parallel_attn_mlp: true }, 102],
    ["the same without MLPs", { ...shape, attn_only: true }, 4 * 3 * (1 + 5) + 9],
    ["SmolLM2-135M", { n_layers: 30, n_heads: 9, attn_only: false }, 123_211],
  ])("are counted: %s", (_, config, edges) => {
    expect(new EdgeGraph(config).size).toBe(edges);
  });

  it.each([{ ...shape }, { ...shape, parallel_attn_mlp: true }, { ...shape, attn_only: true }])(
    "have each a number and a name of its own: %j",
    (config) => {
      const graph = new EdgeGraph(config);
      const names = Array.from({ length: graph.size }, (_, edge) => graph.name(edge));
      expect(new Set(names.map(({ from, to }) => `${from} ${to}`)).size).toBe(graph.size);
      expect(names.map((name) => graph.number(name))).toEqual(names.map((_, edge) => edge));
    },
  );

  it.each([
    ["a1.h0", "a0.h1<q>"],
    ["a0.h0", "a0.h1<k>"],
    ["m0", "m0"],
    ["m1", "a1.h0<v>"],
    ["a0.h0", "a1.h1"],
    ["a0.h4", "logits"],
    ["a2.h0", "logits"],
    ["logits", "m1"],
    ["m0", "embed"],
    ["embed", "m2"],
    ["a0.h0", "a1.h0<z>"],
  ])("do not hold %s -> %s, and the error names it", (from, to) => {
    const error = refusal(new EdgeGraph(shape), from, to);
    expect(error.kind).toBe("input");
    expect(error.subject).toBe(`${from} -> ${to}`);
  });

  it("go from heads to the MLP of their layer where the two stand one behind the other", () => {
    const edge = { from: "a1.h2", to: "m1" };
    expect(() => new EdgeGraph(shape).number(edge)).not.toThrow();
    expect(refusal(new EdgeGraph({ ...shape, parallel_attn_mlp: true }), "a1.h2", "m1").subject).toBe("a1.h2 -> m1");
    expect(refusal(new EdgeGraph({ ...shape, attn_only: true }), "m0", "logits").subject).toBe("m0 -> logits");
  });
});
