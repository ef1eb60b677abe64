import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createScores, writeScores } from "../../../../../backend/heads/files.ts";
import { choosePolicies } from "../../../../../backend/inference/policies/choice.ts";
import { errorOf } from "../../../../helpers/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "headscope-duo-"));
const gates = join(folder, "gates.json");
const VALUES = [
  [0.25, 0.75],
  [0.5, 1],
];
const model = { ref: "small", family: "llama", digest: `sha256:${"0".repeat(64)}`, layers: 2, heads: 4, kvHeads: 2 };

beforeAll(() =>
  writeScores(
    gates,
    createScores({ model, probe: "duo-attention", params: {}, metrics: { gate: { axis: "kvHeads", values: VALUES } } }),
  ),
);
afterAll(() => rmSync(folder, { recursive: true }));

const choose = (params: object) => choosePolicies([{ name: "duo-attention", params: { gates, ...params } }]);
const streaming = async (params: object): Promise<number> =>
  (await choose(params)).heads!.mask.kvHeads!.flat().filter((kind) => kind === "streaming").length;

describe("duo-attention by gates", () => {
  it.each([
    [0.3, 1],
    [0.75, 2],
    [1, 3],
  ])("a threshold of %d lets those below it stream", async (threshold, count) => {
    expect(await streaming({ threshold })).toBe(count);
  });

  it.each([
    [1.01, "1.01", "ratio=1"],
    [0.25, "0.25", "ratio=0"],
    [-3, "-3", "ratio=0"],
  ])("a threshold of %d, on one side of all gates, is refused with them", async (threshold, value, way) => {
    const error = await errorOf(choose({ threshold }));
    expect(error).toMatchObject({ kind: "usage", field: "threshold" });
    for (const number of [value, "4 KV heads", "0.25 to 1"]) expect(error.message).toContain(number);
    expect(error.remedy).toContain(way);
  });

  it("all stream, or none, where a ratio says so", async () => {
    expect(await streaming({ ratio: 1 })).toBe(4);
    expect(await streaming({ ratio: 0 })).toBe(0);
  });
});
