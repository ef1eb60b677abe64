import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { ablate, ablateSweep, drawControls } from "../../../../backend/circuits/ablation/ablate.ts";
import { nextTokenLosses } from "../../../../backend/circuits/loss.ts";
import type { Head } from "../../../../backend/common/heads/head.ts";
import type { TextPart } from "../../../../backend/common/texts/parts.ts";
import { runWithHooks } from "../../../../backend/hooks/run.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { refused } from "../../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";

let model: Model;
const tokens = randomTokens(3, 14, 96);
beforeAll(async () => {
  await initBackend();
  model = randomModel(smallConfig());
});

/** Losses from logits, in JavaScript. @param logits [rows, positions, d_vocab] */
function lossesOf(logits: number[][][], rows: number[][]): number[][] {
  return rows.map((row, r) =>
    row.slice(1).map((next, t) => {
      const line = logits[r]![t]!;
      const largest = Math.max(...line);
      return largest + Math.log(line.reduce((sum, x) => sum + Math.exp(x - largest), 0)) - line[next]!;
    }),
  );
}

function worst(a: number[][], b: number[][]): number {
  return Math.max(...a.flat().map((x, i) => Math.abs(x - b.flat()[i]!)));
}

describe("ablation", () => {
  it("measures the loss that the logits give, also of ragged rows", () => {
    const ragged = tokens.map((row, r) => row.slice(0, 14 - 3 * r));
    const logits = runWithHooks(model, ragged)!;
    const { loss, nll } = nextTokenLosses(model, ragged);
    const expected = lossesOf(logits.arraySync() as number[][][], ragged);
    expect(nll.map((row) => row.length)).toEqual([13, 10, 7]);
    expect(worst(nll, expected)).toBeLessThan(2e-4);
    expect(loss).toBeCloseTo(expected.flat().reduce((a, b) => a + b) / 30, 4);
    logits.dispose();
  });

  it("takes heads out as an eager hook does, and leaves the clean run as it is", async () => {
    const heads: Head[] = [
      { layer: 1, head: 2 },
      { layer: 2, head: 5 },
    ];
    const result = await ablate(model, { tokens, heads, method: "zero" });
    const eager = runWithHooks(model, tokens, {
      hooks: heads.map(
        ({ layer, head }) =>
          [
            `blocks.${layer}.attn.hook_z`,
            (z) => tf.mul(z, tf.tensor([0, 1, 2, 3, 4, 5].map((h) => (h === head ? 0 : 1))).reshape([1, 1, 6, 1])),
          ] as const,
      ),
    })!;
    expect(worst(result.ablated.nll, lossesOf(eager.arraySync() as number[][][], tokens))).toBeLessThan(3e-4);
    expect(worst(result.clean.nll, nextTokenLosses(model, tokens).nll)).toBeLessThan(2e-4);
    const control = result.control!;
    expect(control.draws).toHaveLength(5);
    for (const draw of control.draws) {
      expect(draw.heads.map(({ layer }) => layer)).toEqual([1, 2]);
      expect(draw.heads.some((h) => heads.some((x) => x.layer === h.layer && x.head === h.head))).toBe(false);
    }
    expect(control.range[0]).toBeLessThanOrEqual(control.mean);
    expect(result.nextToken).toHaveLength(3);
    const last = tf.softmax(eager.slice([0, 13, 0], [1, 1, 96])).dataSync() as Float32Array;
    for (const { id, ablated } of result.nextToken[0]!) expect(ablated).toBeCloseTo(last[id]!, 4);
    eager.dispose();
  });

  it("ablates other heads in every row of one call: the same as separate calls", async () => {
    const sets: Head[][] = [
      [],
      [{ layer: 0, head: 1 }],
      [{ layer: 2, head: 3 }],
      [
        { layer: 1, head: 0 },
        { layer: 2, head: 0 },
      ],
    ];
    for (const method of ["mean", "resample"] as const) {
      const together = await ablateSweep(model, { tokens, method, sets, seed: 3 });
      expect(worst(together[0]!.nll, nextTokenLosses(model, tokens).nll)).toBeLessThan(2e-4);
      for (const [i, heads] of sets.entries()) {
        if (heads.length === 0) continue;
        const single = await ablate(model, { tokens, heads, method, controls: 0, seed: 3 });
        expect(worst(together[i]!.nll, single.ablated.nll)).toBeLessThan(3e-4);
        expect(single.control).toBeUndefined();
      }
    }
  });

  it("takes a reference of other rows, so that one row will do", async () => {
    const heads = [{ layer: 1, head: 4 }];
    const one = tokens.slice(0, 1);
    await expect(ablate(model, { tokens: one, heads, method: "mean" })).rejects.toThrow(refused("usage"));
    await expect(ablate(model, { tokens: one, heads, method: "resample" })).rejects.toThrow(refused("usage"));
    const given = await ablate(model, { tokens: one, heads, method: "mean", reference: tokens.slice(1), controls: 0 });
    const own = await ablate(model, { tokens, heads, method: "mean", controls: 0 });
    expect(worst(given.ablated.nll, [own.ablated.nll[0]!])).toBeLessThan(3e-4);
  });

  it("says where a layer has too few other heads", () => {
    const heads = [0, 1, 2, 3].map((head) => ({ layer: 1, head }));
    const { draws, short } = drawControls(model, heads, 5, 0);
    expect(short).toEqual([{ layer: 1, wanted: 4, others: 2 }]);
    expect(draws[0]).toEqual([
      { layer: 1, head: 4 },
      { layer: 1, head: 5 },
    ]);
  });

  it("holds a token against a wrong one by their logits, in every run", async () => {
    const heads: Head[] = [{ layer: 1, head: 2 }];
    const [row] = tokens as [number[]];
    const contrast = { position: 6, wrong: 5 };
    const { difference, control } = await ablate(model, {
      tokens: [row],
      heads,
      method: "zero",
      controls: 2,
      contrast,
    });
    const eager = (taken: readonly Head[]): number => {
      const zeroed = new Set(taken.map(({ head }) => head));
      const mask = Array.from({ length: 6 }, (_, h) => (zeroed.has(h) ? 0 : 1));
      const hook = (z: Tensor): Tensor => tf.mul(z, tf.tensor(mask).reshape([1, 1, 6, 1]));
      const logits = runWithHooks(model, [row], { hooks: [["blocks.1.attn.hook_z", hook]] })!;
      const line = (logits.arraySync() as number[][][])[0]![5]!;
      logits.dispose();
      return line[row[6]!]! - line[5]!;
    };
    const sets = [[], heads, ...control!.draws.map((draw) => draw.heads)];
    const found = [difference!.clean, difference!.ablated, ...difference!.draws];
    sets.forEach((set, i) => {
      expect(found[i]).toBeCloseTo(eager(set), 3);
    });
    for (const bad of [
      { position: 0, wrong: 5 },
      { position: row.length, wrong: 5 },
      { position: 1, wrong: 96 },
      { position: 6, wrong: row[6]! },
    ])
      await expect(ablate(model, { tokens: [row], heads, method: "zero", contrast: bad })).rejects.toMatchObject({
        kind: "usage",
      });
  });

  describe("over a part of the text", () => {
    const heads: Head[] = [{ layer: 1, head: 2 }];
    const rows = [
      [0, 5, 9, 7, 5, 9, 7, 3],
      [0, 8, 8, 8, 2, 6, 1, 4],
    ];
    const run = (over: TextPart, more: object = {}, tokens = rows) =>
      ablate(model, { tokens, heads, method: "zero", controls: 3, over, ...more });

    it.each([
      // Of row 1: the second 8 follows one that 8 had not followed yet; the third repeats "8 8".
      ["all", {}, [[1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7]]],
      ["repeated", {}, [[5, 6], [3]]],
      ["token", { position: 5 }, [[5], [5]]],
      ["word", { position: 1 }, [[1, 4], [1, 2, 3]]],
      ["from", { position: 6 }, [[6, 7], [6, 7]]],
    ] as const)("%s is the mean loss over its tokens, in all three: clean, ablated, every draw", async (over, more, places) => {
      const { part, clean, ablated, control } = await run(over, more);
      const mean = (nll: number[][]) => {
        const losses = places.flatMap((own, r) => own.map((t) => nll[r]![t - 1]!));
        return losses.reduce((a, b) => a + b) / losses.length;
      };
      expect(part).toMatchObject({ over, tokens: places.flat().length });
      expect(part!.clean).toBeCloseTo(mean(clean.nll), 10);
      expect(part!.ablated).toBeCloseTo(mean(ablated.nll), 10);
      const draws = control!.draws.map(({ nll }) => mean(nll));
      draws.forEach((value, i) => {
        expect(part!.control!.draws[i]).toBeCloseTo(value, 10);
      });
      expect(part!.control!.range).toEqual([Math.min(...part!.control!.draws), Math.max(...part!.control!.draws)]);
    }); // biome-ignore format: a table

    it("answer is the metric of the held token against the wrong one", async () => {
      const row = tokens[0]!;
      const contrast = { position: 6, wrong: 5 };
      const one = await run("answer", { contrast }, [row]);
      const { draws, ...values } = one.difference!;
      expect(one.part).toMatchObject({ over: "answer", metric: "logit-diff", ...values, control: { draws } });
      // -log p(answer) is the loss of that very token, which the losses have found by another way.
      const loss = await run("answer", { contrast, metric: "loss" }, [row]);
      expect(loss.part!.ablated).toBeCloseTo(loss.ablated.nll[0]![5]!, 3);
      const kl = await run("answer", { contrast, metric: "kl" }, [row]);
      expect(kl.part!.clean).toBeCloseTo(0, 5);
      expect(kl.part!.ablated).toBeGreaterThan(0);
    });

    it("answer may be what comes next behind the text, with the same numbers as where it stands in it", async () => {
      const row = tokens[0]!;
      const last = row.length - 1;
      const inside = await run("answer", { contrast: { position: last, wrong: 5 } }, [row]);
      const contrast = { position: last, answer: row[last], wrong: 5 };
      const behind = await run("answer", { contrast }, [row.slice(0, last)]);
      expect(behind.part!.clean).toBeCloseTo(inside.part!.clean, 4);
      expect(behind.part!.ablated).toBeCloseTo(inside.part!.ablated, 4);
      expect(behind.part!.control!.range[0]).toBeCloseTo(inside.part!.control!.range[0], 4);
      const beyond = { ...contrast, position: last + 1 };
      await expect(run("answer", { contrast: beyond }, [row.slice(0, last)])).rejects.toThrow(refused("usage"));
    });

    it.each([
      ["a held part without a position", "token", {}, "usage"],
      ["a position over all", "all", { position: 2 }, "usage"],
      ["an answer without a wrong one", "answer", {}, "usage"],
      ["a metric of a loss", "repeated", { metric: "kl" }, "usage"],
      ["a position that a row lacks", "from", { position: 8 }, "input"],
    ] as const)("refuses %s", async (_, over, more, kind) => {
      await expect(run(over, more)).rejects.toThrow(refused(kind));
    });

    it("refuses repeated tokens of rows that repeat nothing", async () => {
      await expect(run("repeated", {}, [[0, 1, 2, 3]])).rejects.toThrow(refused("input"));
    });
  });

  it("refuses heads that are not there, and leaks no tensor", async () => {
    await expect(ablate(model, { tokens, heads: [{ layer: 3, head: 0 }], method: "zero" })).rejects.toThrow(
      refused("usage"),
    );
    await expect(ablate(model, { tokens: [[4]], heads: [{ layer: 0, head: 0 }], method: "zero" })).rejects.toThrow(
      refused("input"),
    );
    const run = () => ablate(model, { tokens, heads: [{ layer: 1, head: 1 }], method: "mean" });
    await run();
    const before = tf.memory().numTensors;
    await run();
    expect(tf.memory().numTensors).toBe(before);
  });
});
