import { describe, expect, test } from "vitest";
import { commandFolder, expectLine, ok } from "../../../helpers/cli.ts";
import { headscope } from "../../../helpers/headscope.ts";

const MODEL = ["--model", "toy-induction"];
const ROW = [0, 17, 5, 99, 42, 3, 64, 28, 7, 110, 55, 81, 12, 17, 5, 99];
const LENGTH = ["--max-tokens", "3"];

interface Document {
  readonly ids: number[];
  readonly policies?: { name: string; params: Record<string, unknown> }[];
  readonly cache: { readonly bytes: number; readonly bytesFull: number; readonly kept?: number[][][] };
}

const { at, file } = commandFolder();
const row = () => file("row.json", [ROW]);
const generate = (...args: string[]) =>
  headscope(["generate", ...MODEL, "--tokens-file", row(), ...LENGTH, ...args, "--json"]);

describe("generate --policy", () => {
  test("says what was kept, and with which parameters", async () => {
    const { policies, cache } = ok(await generate("--policy", "tova", "--param", "budget=5")).json<Document>();
    expect(policies).toEqual([{ name: "tova", params: { budget: 5, rerotate: false, when: "prefill" } }]);
    for (const positions of cache.kept!.flat()) expect(positions).toHaveLength(5 + 2);
  });

  test("takes parameters by the policy's name, and a mask as a policy gives what --mask gives", async () => {
    const mask = at("mask.json");
    const scores = at("scores.json");
    ok(await headscope(["probe", "induction", ...MODEL, "--param", "length=8", "--out", scores]));
    ok(await headscope(["mask", "--scores", scores, "--top", "2", "--sink", "1", "--recent", "4", "--out", mask]));
    const one = ok(await generate("--policy", "duo-attention", "--param", `mask=${mask}`)).json<Document>();
    const other = ok(await generate("--mask", mask)).json<Document>();
    expect(one).toMatchObject({ ids: other.ids, cache: other.cache });
    const both = [
      "--policy",
      "duo-attention,knorm",
      "--param",
      `duo-attention.mask=${mask}`,
      "--param",
      "knorm.budget=7",
    ];
    const { policies, cache } = ok(await generate(...both)).json<Document>();
    expect(policies!.map(({ name }) => name)).toEqual(["duo-attention", "knorm"]);
    expect(new Set(cache.kept!.flat().map((positions) => positions.length))).toEqual(new Set([5, 7 + 2]));
    expectLine(await generate("--policy", "duo-attention,knorm", "--param", "budget=7"), 2, /budget/);
    const dense = ["--policy", "duo-attention", "--param", `mask=${mask}`, "--param", "prefill=dense"];
    const free = ok(await generate(...dense)).json<Document>();
    expect(ok(await generate(...dense, "--save-cache", at("dense.safetensors"))).json<Document>()).toMatchObject({
      ids: free.ids,
      cache: free.cache,
    });
  });

  test("is saved as it was cut, and goes on as it would have", async () => {
    const saved = at("cut.safetensors");
    const own = ["--policy", "snapkv", "--param", "window=4", "--param", "ratio=0.5"];
    const free = ok(await generate(...own)).json<Document>();
    const saving = ok(await generate(...own, "--save-cache", saved)).json<Document>();
    expect(saving).toMatchObject({ ids: free.ids, policies: free.policies, cache: { kept: free.cache.kept } });
    const later = ok(
      await headscope(["generate", ...MODEL, "--from-cache", saved, ...LENGTH, "--json"]),
    ).json<Document>();
    expect(later).toMatchObject({ ids: free.ids, cache: { kept: free.cache.kept } });
  });

  test("is refused before a model is looked for", async () => {
    const nowhere = ["generate", "--model", "no-such-model", "--tokens-file", row()];
    const refused = (...args: string[]) => headscope([...nowhere, ...args]);
    expectLine(await refused("--policy", "snapkv", "--param", "budget=3"), 2, /budget of 3 tokens is below the 64/);
    expectLine(await refused("--policy", "tova", "--param", "ratio=1"), 2, /ratio/);
    expectLine(await refused("--policy", "tova,snapkv"), 2, /tova and snapkv can't go together/);
    expectLine(await refused("--param", "ratio=0.5"), 2, /unknown parameter "ratio"/);
  });
});

test("policies list and show tell of each what it chooses and takes", async () => {
  const list = ok(await headscope(["policies", "list", "--json"])).json<{ name: string; chooses: string }[]>();
  expect(list).toContainEqual(expect.objectContaining({ name: "snapkv", chooses: "tokens" }));
  expect(ok(await headscope(["policies", "show", "snapkv"])).stdout).toMatch(/window .*64/);
  expectLine(await headscope(["policies", "show", "snapkw"]), 2, /snapkv/);
});
