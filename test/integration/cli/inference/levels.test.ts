import { describe, expect, test } from "vitest";
import { commandFolder, expectLine, ok } from "../../../helpers/cli.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { headscope } from "../../../helpers/headscope.ts";
import { randomTokens } from "../../../helpers/models.ts";

const MODEL = ["--model", fixture("policies/llama")];
const { at, file } = commandFolder();
const row = (length: number) => file(`row-${length}.json`, randomTokens(1, length, 96));
const find = (...args: string[]) => headscope(["levels", "find", ...MODEL, ...args, "--json"]);

describe("levels find", () => {
  test("writes levels of every layer, which kvquant takes", async () => {
    const out = at("levels.json");
    const found = ok(await find("--tokens-file", row(300), "--param", "length=140", "--out", out)).json<{
      params: object;
      layers: { keys: Record<string, number[]> }[];
    }>();
    // Of 140 + 140 + 20 tokens the last row has no page.
    expect(found.params).toEqual({ outliers: 0.01, rows: 2, tokens: 280 });
    expect(found.layers.map(({ keys }) => keys["3"]!.length)).toEqual([8, 8, 8]);
    for (const { keys } of found.layers) expect(keys["3"]).toEqual(keys["3"]!.toSorted((a, b) => a - b));
    const generate = (...params: string[]) => headscope(["generate", ...MODEL, "--tokens-file", row(300), "--max-tokens", "1", "--policy", "kvquant", ...params.flatMap((param) => ["--param", param])]); // biome-ignore format: one call
    ok(await generate(`levels=${out}`, "recent=0"));
    expectLine(await generate(`levels=${out}`, "outliers=0.1"), 1, /outliers=0.01.*outliers=0.1/);
    expectLine(await generate("levels=none.json"), 1, /none\.json/);
  });

  test("refuses samples without a page", async () => {
    const out = ["--out", at("none.json")];
    expectLine(await find("--tokens-file", row(50), ...out), 1, /128/);
    expectLine(await find("--text-file", file("empty.txt", ""), ...out), 1, /empty\.txt is empty/);
    expectLine(await find("--tokens-file", row(300), "--param", "length=100", ...out), 2, /length/);
  });
});
