import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { maskFromHeads, maskFromKvHeads, maskFromScores, parseMask } from "../../../backend/common/heads/mask.ts";
import { meaningOf } from "../../../backend/common/heads/meaning.ts";
import { checkModel } from "../../../backend/common/heads/model.ts";
import { parseScores } from "../../../backend/common/heads/scores.ts";
import { choose } from "../../../backend/common/heads/select.ts";
import { readMask, writeMask } from "../../../backend/heads/files.ts";
import sparsity from "../../fixtures/exports/sparsity.json" with { type: "json" };
import { refused } from "../../helpers/errors.ts";
import { mask, model, scores } from "../../helpers/formats/heads-documents.ts";

const tied = parseScores(
  {
    format: "headscope.head-scores/1",
    model: { ...model, digest: undefined, layers: 2 },
    probe: "p",
    // Over KV heads: [[0.5, 0], [0.5, 0]]
    metrics: {
      p: {
        axis: "heads",
        values: [
          [0.5, 0.1, 0, 0],
          [0.2, 0.5, 0, 0],
        ],
      },
    },
  },
  "tied",
);
const kept = (rule: object) => meaningOf(maskFromScores(tied, rule)).full.map(({ layer, head }) => `${layer}.${head}`);

describe("a mask from scores", () => {
  test("keeps the top N KV heads, each as good as the best of its group", () => {
    expect(kept({ top: 0 })).toEqual([]);
    expect(kept({ top: 1 })).toEqual(["0.0"]);
    expect(kept({ top: 2 })).toEqual(["0.0", "1.0"]);
    expect(kept({ top: 3 })).toEqual(["0.0", "0.1", "1.0"]);
    expect(kept({ top: 4 })).toHaveLength(4);
  });

  test("lets the lowest share stream, ties told apart by position", () => {
    expect(kept({ quantile: 0 })).toHaveLength(4);
    expect(kept({ quantile: 0.25 })).toEqual(["0.0", "0.1", "1.0"]);
    expect(kept({ quantile: 0.5 })).toEqual(["0.0", "1.0"]);
    expect(kept({ quantile: 1 })).toEqual([]);
  });

  test("keeps what reaches a threshold", () => {
    expect(kept({ threshold: 0.5 })).toEqual(["0.0", "1.0"]);
    expect(kept({ threshold: 0.50001 })).toEqual([]);
    expect(kept({ threshold: 0 })).toHaveLength(4);
  });

  test.each(sparsity.map((entry, i) => [i, entry] as const))("chooses as DuoAttention does, case %i", (_, entry) => {
    expect(choose(entry.scores, { quantile: entry.quantile })).toEqual(entry.kept.map((row) => row.map(Boolean)));
  });

  test("notes model, window and where it comes from", () => {
    const made = maskFromScores(scores, { top: 2, metric: "gate", recent: 32, scoresFile: "s.json" });
    expect(made).toMatchObject({
      format: "headscope.head-mask/1",
      model,
      sink: 64,
      recent: 32,
      source: { scores: "s.json", probe: "retrieval", metric: "gate", rule: "top", value: 2 },
    });
    expect(made.heads).toBeUndefined();
  });

  test.each([
    [{}, "no rule to choose heads by"],
    [{ top: 1, threshold: 0.5 }, "top and threshold cannot go together"],
    [{ top: 9 }, "top cannot be 9; give a whole number from 0 to 8, the KV heads of the model"],
    [{ top: -1 }, "top cannot be -1"],
    [{ top: 1.5 }, "top cannot be 1.5"],
    [{ quantile: 1.1 }, "quantile cannot be 1.1; give a share from 0 to 1"],
    [{ quantile: Number.NaN }, "quantile cannot be NaN"],
    [{ threshold: Number.NaN }, "threshold cannot be NaN; give a number"],
    [{ top: 1, metric: "gates" }, 'unknown metric of the retrieval scores "gates"; did you mean gate'],
    [{ top: 1, sink: -1 }, "sink cannot be -1; give a whole number of tokens from 0"],
    [{ top: 1, recent: 0 }, "recent cannot be 0; give a whole number of tokens from 1"],
  ])("%j is wrong usage, and says why", (rule, line) => {
    expect(() => maskFromScores(scores, rule)).toThrow(
      expect.objectContaining({ kind: "usage", line: expect.stringContaining(line) }),
    );
  });
});

describe("a mask from heads", () => {
  test("ablates these query heads and keeps the rest", () => {
    const made = maskFromHeads(model, [
      { layer: 3, head: 1 },
      { layer: 0, head: 0 },
    ]);
    expect(meaningOf(made).ablated).toEqual([
      { layer: 0, head: 0 },
      { layer: 3, head: 1 },
    ]);
    expect(made.kvHeads).toBeUndefined();
    expect(meaningOf(made).full).toHaveLength(8);
  });
  test("or keeps these KV heads full", () => {
    expect(meaningOf(maskFromKvHeads(model, [{ layer: 1, head: 1 }])).full).toEqual([{ layer: 1, head: 1 }]);
  });
  test("that the model has not is an error", () => {
    expect(() => maskFromHeads(model, [{ layer: 4, head: 0 }])).toThrow(refused("usage"));
    expect(() => maskFromKvHeads(model, [{ layer: 0, head: 2 }])).toThrow(refused("usage"));
  });
});

describe("a mask file", () => {
  test("is read back as it was written", async () => {
    const folder = await mkdtemp(join(tmpdir(), "headscope-mask-"));
    await writeMask(join(folder, "mask.json"), mask);
    expect(await readMask(join(folder, "mask.json"))).toEqual(mask);
    expect(await readdir(folder)).toEqual(["mask.json"]);
    await rm(folder, { recursive: true });
  });

  test.each([
    [{ format: "headscope.head-scores/1" }, "m.json is not a headscope.head-mask/1 file"],
    [{ kvHeads: undefined, heads: undefined }, "m.json chooses no heads"],
    [{ kvHeads: [["retrieval", "streaming"]] }, "m.json: kvHeads has 1 rows, expected 4 (one a layer)"],
    [
      { heads: mask.heads!.map((row) => row.slice(1)) },
      "m.json: heads[0] has 3 columns, expected 4 (one a query head)",
    ],
    [{ kvHeads: mask.kvHeads!.map(() => ["retrieval", "full"]) }, "m.json: kvHeads[0][1]:"],
    [{ recent: 0 }, "m.json: recent:"],
    [{ sink: 1.5 }, "m.json: sink:"],
  ])("with %j is refused by name", (change, message) => {
    expect(() => parseMask({ ...mask, ...change }, "m.json")).toThrow(
      expect.objectContaining({ kind: "input", message: expect.stringContaining(message) }),
    );
  });
});

describe("a file of another model", () => {
  const other = `sha256:${"1".repeat(64)}`;
  test("is refused by shape, both models named", () => {
    expect(() => checkModel(mask, { ref: "big", layers: 30, heads: 9, kvHeads: 3 }, "mask m.json")).toThrow(
      expect.objectContaining({
        kind: "mismatch",
        line: "mask m.json is for tiny (4 layers of 4 heads and 2 KV heads), but the model is big (30 layers of 9 heads and 3 KV heads); make it again with --model big",
      }),
    );
  });
  test("is refused by digest when both have one", () => {
    expect(() => checkModel(scores, { ...model, ref: "retrained", digest: other }, "scores s.json")).toThrow(
      expect.objectContaining({
        kind: "mismatch",
        message:
          "scores s.json is for tiny (weights sha256:000000000000), but the model retrained has other weights (sha256:111111111111)",
      }),
    );
    checkModel({ model: { ...model, digest: undefined } }, { ...model, digest: other });
    checkModel(mask, { ...model, ref: "another name of the same weights" });
  });
});
