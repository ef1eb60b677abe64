import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { ModelConfig } from "../../../../backend/models/config.ts";
import type { ParameterPlace } from "../../../../backend/models/weights/trainable.ts";
import {
  attentionOf,
  type PruneSchedule,
  pruneHeads,
  pruneSchedule,
  prunesAfter,
  pruneWeights,
  sparsityAt,
} from "../../../../backend/training/changes/prune.ts";

interface Schedule extends Omit<PruneSchedule, "structure"> {
  steps: { step: number; share: number; mask: string; left: number[] }[];
}
const oracle = JSON.parse(readFileSync(new URL("../../../oracles/pruning.json", import.meta.url), "utf8")) as {
  weights: (Schedule & { shapes: [number, number][] })[];
  heads: (Schedule & { layers: number; heads: number; d_head: number; d_model: number })[];
};

/** The oracle's parameters at a step. */
const values = (size: number, step: number) =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(0.37 * (i + 1) ** 2 + 0.01 * step));

function place(name: string, offset: number, shape: number[]): ParameterPlace {
  const size = shape.reduce((a, b) => a * b, 1);
  return { name, kind: "matrix", shape, offset, size, init: { normal: 1 } };
}

/** The steps from 0 to the end of a schedule that end with a pruning. */
function prunings(schedule: PruneSchedule): number[] {
  return Array.from({ length: schedule.end + 20 }, (_, step) => step).filter((step) => prunesAfter(schedule, step));
}

describe("gradual magnitude pruning", () => {
  it.each(oracle.weights)("leaves NumPy's weights at every pruning: $sparsity from $start to $end", (each) => {
    const schedule = { ...each, structure: "weights" as const };
    let size = 0;
    const matrices = each.shapes.map((shape, i) => {
      const matrix = place(`blocks.${i}.mlp.in`, size, shape);
      size += matrix.size;
      return matrix;
    });
    let mask = new Float32Array(size).fill(1);
    expect(prunings(schedule)).toEqual(each.steps.map(({ step }) => step));
    for (const { step, share, mask: expected } of each.steps) {
      expect(sparsityAt(schedule, step)).toBeCloseTo(share, 12);
      const parameters = values(size, step).map((x, i) => x * mask[i]!);
      mask = pruneWeights({ parameters, mask }, matrices, sparsityAt(schedule, step)) as Float32Array<ArrayBuffer>;
      expect([...mask].join("")).toBe(expected);
    }
  });

  it.each(oracle.heads)("leaves NumPy's heads at every pruning: $sparsity of $heads in $layers layers", (each) => {
    const { layers, heads, d_head, d_model } = each;
    const schedule = { ...each, structure: "heads" as const };
    let size = 0;
    const places = Array.from({ length: layers }, (_, layer) => {
      const qkv = place(`blocks.${layer}.attn.qkv`, size, [3 * heads * d_head, d_model]);
      const o = place(`blocks.${layer}.attn.o`, size + qkv.size, [d_model, heads * d_head]);
      size = o.offset + o.size;
      return [qkv, o];
    }).flat();
    const attention = attentionOf(places);
    const config = { n_heads: heads, d_head, d_model } as ModelConfig;
    let mask = new Float32Array(size).fill(1);
    for (const { step, left } of each.steps) {
      const parameters = values(size, step);
      mask = pruneHeads(
        { parameters, mask },
        { layers: attention, config },
        sparsityAt(schedule, step),
      ) as Float32Array<ArrayBuffer>;
      // A head is whole or gone: its rows of queries, keys and values and its columns of the output.
      const found = attention.flatMap(({ qkv, o }) =>
        Array.from({ length: heads }, (_, head) => {
          const rows = [0, 1, 2].flatMap((kind) => {
            const first = qkv.offset + (kind * heads + head) * d_head * d_model;
            return [...mask.subarray(first, first + d_head * d_model)];
          });
          const columns = Array.from({ length: d_model }, (_, row) => {
            const first = o.offset + (row * heads + head) * d_head;
            return [...mask.subarray(first, first + d_head)];
          }).flat();
          const all = new Set([...rows, ...columns]);
          expect(all.size).toBe(1);
          return all.has(1);
        }),
      );
      expect(found.flatMap((there, index) => (there ? [index] : []))).toEqual(left);
    }
  });

  it("reaches half by the middle of the training, in 20 prunings, where nothing is said", () => {
    const schedule = pruneSchedule({ prune: "weights", steps: 400 })!;
    expect(schedule).toEqual({ structure: "weights", sparsity: 0.5, start: 0, end: 200, every: 10 });
    expect(sparsityAt(schedule, 200)).toBe(0.5);
    expect(sparsityAt(schedule, 100)).toBeCloseTo(0.5 * (1 - 1 / 8), 12);
    expect(pruneSchedule({ steps: 400 })).toBeUndefined();
  });
});
