import { describe, expect, it } from "vitest";
import type { NeedleTrial } from "../../../backend/common/api/jobs.ts";
import { compareTokens, differenceWords } from "../../../frontend/src/components/tokens/differences.ts";
import { defaultFrom, type ExportFormat, given, refusal } from "../../../frontend/src/inference/export/formats.ts";
import {
  answerWords,
  cellTrials,
  defaultLengths,
  depthsProblem,
  lengthsProblem,
  needleRows,
  needleTable,
  offeredLengths,
  readNumbers,
} from "../../../frontend/src/inference/needle/needle.ts";
import { longExample } from "../../../frontend/src/inference/text/example.ts";

describe("two continuations", () => {
  it("that are alike have no difference", () => {
    expect(compareTokens([1, 2, 3], [1, 2, 3])).toEqual({
      first: undefined,
      left: [false, false, false],
      right: [false, false, false],
    });
    expect(compareTokens([], []).first).toBeUndefined();
  });

  it("are marked where they part, and go on alike after a token more", () => {
    const { first, left, right } = compareTokens([1, 2, 3, 4, 5], [1, 2, 9, 3, 4, 6]);
    expect(first).toBe(2);
    expect(left).toEqual([false, false, false, false, true]);
    expect(right).toEqual([false, false, true, false, false, true]);
  });

  it("differ from their end on where one is longer", () => {
    expect(compareTokens([1, 2], [1])).toEqual({ first: 1, left: [false, true], right: [false] });
  });

  it("name the first difference", () => {
    const difference = compareTokens([1, 2], [1, 3]);
    expect(differenceWords(difference, { left: ["a", " b"], right: ["a", " c"] })).toBe(
      'First difference at new token 2: " b" full, " c" masked. 1 of 2 masked tokens is not in the full continuation.',
    );
    expect(differenceWords(compareTokens([1, 2], [1]), { left: ["a", "b"], right: ["a"] })).toContain("the end masked");
    expect(differenceWords(compareTokens([1, 2], [1, 2]), { left: [], right: [] })).toBe(
      "All 2 new tokens are the same.",
    );
  });
});

function trial(length: number, depth: number, full: boolean, masked?: boolean): NeedleTrial {
  const answer = (right: boolean) => ({
    text: right ? " 42" : " 7",
    right,
    bytes: 10,
    bytesFull: 10,
    prefillMs: 1,
    decodeMsPerToken: 2,
  });
  return {
    length, depth, needle: 0, question: "What?", expected: "42", full: answer(full),
    ...(masked === undefined ? {} : { masked: answer(masked) }),
  }; // biome-ignore format: short
}

describe("needle questions", () => {
  const trials = [
    trial(1024, 0.5, true, false),
    trial(512, 0.9, true, true),
    trial(512, 0.5, false, false),
    trial(512, 0.5, true, false),
  ];

  it("are a table of lengths by depths, on each side", () => {
    const full = needleTable(trials, "full");
    expect([full.lengths, full.depths]).toEqual([
      [512, 1024],
      [0.5, 0.9],
    ]);
    expect(full.share).toEqual([
      [0.5, 1],
      [1, null],
    ]);
    expect([full.right, full.asked]).toEqual([3, 4]);
    expect(needleTable(trials, "masked").share).toEqual([
      [0, 0],
      [1, null],
    ]);
  });

  it("have no masked side without a mask", () => {
    const alone = [trial(512, 0.5, true)];
    expect(needleTable(alone, "masked")).toMatchObject({ share: [[null]], right: 0, asked: 0 });
    expect(needleRows(alone).rows).toHaveLength(1);
  });

  it("are found by their cell, and make one row a question and side", () => {
    expect(cellTrials(trials, 512, 0.5)).toHaveLength(2);
    const { columns, rows } = needleRows(trials);
    expect(rows).toHaveLength(8);
    expect(rows[0]).toHaveLength(columns.length);
    expect(rows[1]!.slice(0, 6)).toEqual([1024, 0.5, 0, "masked", 0, "42"]);
  });

  it("tell their answers when a cell is pointed at, safely", () => {
    const odd = { ...trial(512, 0.5, true), full: { ...trial(512, 0.5, true).full, text: " <b>42\n" } };
    expect(answerWords([odd, trial(512, 0.5, false)], "full")).toEqual([["right: &lt;b&gt;42<br>wrong: 7"]]);
  });

  it("stay inside the context, with the reason", () => {
    expect(lengthsProblem([512, 8182], 8192, 10)).toBeUndefined();
    expect(lengthsProblem([512, 8183], 8192, 10)).toContain("At most 8182.");
    expect(lengthsProblem([8], 8192, 10)).toContain("from 16");
    expect(lengthsProblem(undefined, 8192, 10)).toContain("512, 1024");
    expect(offeredLengths(8192)).toEqual([256, 512, 1024, 2048, 4096]);
    expect(offeredLengths(64)).toEqual([16, 32]);
    expect(defaultLengths([256, 512, 1024, 2048], { sink: 64, recent: 256 })).toEqual([512, 1024]);
    expect(defaultLengths([16, 32], { sink: 64, recent: 256 })).toEqual([32]);
    expect(depthsProblem([0, 1])).toBeUndefined();
    expect(depthsProblem([1.5])).toContain("1.5");
  });

  it("take lengths and depths as people write them", () => {
    expect(readNumbers("1024, 512 512;256")).toEqual([256, 512, 1024]);
    expect(readNumbers("")).toBeUndefined();
    expect(readNumbers("512, x")).toBeUndefined();
  });
});

describe("formats", () => {
  const format = (name: string, from: ("scores" | "mask")[]): ExportFormat =>
    ({ name, from, needsCheckpoint: false, output: "file", title: name, description: "", source: "", flags: [], schema: {} }); // biome-ignore format: short
  const model = { ref: "m", layers: 1, heads: 2, kvHeads: 1 };
  const base = { format: "headscope.head-mask/1" as const, model, sink: 4, recent: 8, source: "user" };
  const streaming = { ...base, kvHeads: [["streaming" as const]] };
  const ablating = { ...base, heads: [["keep" as const, "ablate" as const]] };

  it("say why they cannot hold a mask", () => {
    const present = (mask: typeof streaming | typeof ablating | undefined) => ({ mask, scores: undefined, metric: "" });
    const duo = format("duo-attention", ["scores", "mask"]);
    expect(refusal(duo, "mask", present(streaming))).toBeUndefined();
    expect(refusal(duo, "mask", present(ablating))).toContain("only ablates");
    expect(refusal(duo, "mask", present(undefined))).toContain("step 1");
    for (const name of ["hf-prune", "pruned-checkpoint"]) {
      expect(refusal(format(name, ["mask"]), "mask", present(streaming))).toContain("removes query heads");
      expect(refusal(format(name, ["mask"]), "mask", present(ablating))).toBeUndefined();
    }
    expect(refusal(format("retrieval-head", ["scores"]), "mask", present(streaming))).toBe("It holds scores only.");
  });

  it("start from the mask where they can, and leave out what a form has left empty", () => {
    const scores = {
      format: "headscope.head-scores/1" as const, model, probe: "p", params: {}, summary: {},
      metrics: { p: { axis: "kvHeads" as const, values: [[1]] } },
    }; // biome-ignore format: short
    const present = { mask: ablating, scores, metric: "p" };
    expect(defaultFrom(format("csv", ["scores", "mask"]), present)).toBe("mask");
    expect(defaultFrom(format("duo-attention", ["scores", "mask"]), present)).toBe("scores");
    expect(refusal(format("retrieval-head", ["scores"]), "scores", present)).toContain("query heads");
    expect(given({ sink: "4", metric: " " })).toEqual({ sink: "4" });
  });
});

describe("the long example", () => {
  it("holds its fact once, far from the question at its end", () => {
    const text = longExample(40);
    expect(text.split("The keeper of the lighthouse was called Marguerite Oldacre").length).toBe(2);
    expect(text.indexOf("Oldacre")).toBeLessThan(text.length / 3);
    expect(text.endsWith("was called")).toBe(true);
  });
});
