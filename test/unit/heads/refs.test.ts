import { describe, expect, test } from "vitest";
import { formatHead } from "../../../backend/common/heads/head.ts";
import { ranking } from "../../../backend/common/heads/metric.ts";
import { parseHeads } from "../../../backend/heads/refs.ts";
import { model, scores } from "../../helpers/formats/heads-documents.ts";

const shape = { layers: 30, heads: 9 };
const read = async (path: string) => {
  expect(path).toBe("runs/a@b.json");
  return scores;
};
const named = async (text: string, of: Parameters<typeof parseHeads>[1] = shape) =>
  (await parseHeads(text, of, read)).map(formatHead);

describe("heads by name", () => {
  test("are LAYER.HEAD with commas, each once, in the order written", async () => {
    expect(await parseHeads("18.6, 17.3,18.6", shape)).toEqual([
      { layer: 18, head: 6 },
      { layer: 17, head: 3 },
    ]);
    expect(await named("29.8")).toEqual(["29.8"]);
  });

  test.each([
    ["30.0", "there is no head 30.0: the model has no layer 30; layers are 0 to 29, heads 0 to 8"],
    ["1.1,0.9", "there is no head 0.9: the model has no head 9 in a layer; layers are 0 to 29, heads 0 to 8"],
    ["18", '"18" is not a head; write LAYER.HEAD'],
    ["18.6;17.3", '"18.6;17.3" is not a head'],
    ["18.6,", '"" is not a head'],
    ["-1.0", '"-1.0" is not a head'],
    ["1.2.3", '"1.2.3" is not a head'],
  ])("%s is wrong usage", async (text, line) => {
    await expect(parseHeads(text, shape)).rejects.toMatchObject({ kind: "usage", line: expect.stringContaining(line) });
  });
});

describe("heads by score", () => {
  test("top takes the best of the main metric, bottom the lowest", async () => {
    const ranked = ranking(scores).map(formatHead);
    expect(await named("top:3@runs/a@b.json", model)).toEqual(ranked.slice(0, 3));
    expect(await named("top:3@runs/a@b.json#retrieval", model)).toEqual(ranked.slice(0, 3));
    expect(await named("bottom:2@runs/a@b.json", model)).toEqual(ranked.slice(-2).reverse());
  });

  test.each([
    ["top:3", model, "usage", '"top:3" names no score file; write top:8@scores.json#metric'],
    ["top:x@runs/a@b.json", model, "usage", '"top:x" is not a number of heads; give a whole number from 1 to 16'],
    ["top:0@runs/a@b.json", model, "usage", '"top:0" is not a number of heads'],
    ["top:17@runs/a@b.json", model, "usage", '"top:17" is not a number of heads'],
    ["top:2@runs/a@b.json#retrival", model, "usage", "did you mean retrieval"],
    ["top:2@runs/a@b.json#gate", model, "usage", "metric gate scores KV heads; choose retrieval"],
    ["top:2@runs/a@b.json", { ...model, layers: 30 }, "mismatch", "scores file runs/a@b.json is for tiny"],
    ["top:2@runs/a@b.json", { ...model, digest: `sha256:${"1".repeat(64)}` }, "mismatch", "has other weights"],
  ])("%s is refused", async (text, of, kind, line) => {
    await expect(parseHeads(text, of, read)).rejects.toMatchObject({ kind, line: expect.stringContaining(line) });
  });

  test("a score file that is not there is named", async () => {
    await expect(parseHeads("top:2@nowhere.json", shape)).rejects.toMatchObject({
      kind: "missing",
      message: "there is no scores file nowhere.json",
    });
  });
});
