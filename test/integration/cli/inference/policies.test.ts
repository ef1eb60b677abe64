import { describe, expect, test, vi } from "vitest";
import * as models from "../../../../backend/models/load.ts";
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

vi.mock("../../../../backend/models/load.ts", { spy: true });
const loads = vi.mocked(models.loadModel);

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

describe("files of other models and prompts beyond the context", () => {
  const refused = async (message: RegExp, ...args: string[]) => {
    loads.mockClear();
    expectLine(await headscope(args), 1, message);
    expect(loads).not.toHaveBeenCalled();
  };
  test("are refused before the model is loaded", async () => {
    const model = {
      ref: "other",
      family: "llama",
      digest: `sha256:${"0".repeat(64)}`,
      layers: 1,
      heads: 2,
      kvHeads: 2,
    };
    const kvHeads = [["retrieval", "streaming"]];
    const other = file("other.json", {
      format: "headscope.head-mask/1",
      model,
      kvHeads,
      sink: 1,
      recent: 4,
      source: "user",
    });
    const started = ["generate", ...MODEL, "--tokens-file", row()];
    const numbers = /1 layers of 2 heads and 2 KV heads.*2 layers of 4 heads and 4 KV heads/;
    await refused(numbers, ...started, "--mask", other);
    await refused(numbers, ...started, "--draft-mask", other);
    await refused(numbers, ...started, "--policy", "duo-attention", "--param", `mask=${other}`);
    await refused(/16 prompt tokens and 9000 new ones exceed the context/, ...started, "--max-tokens", "9000");
  });
});

test("policies that act on new tokens go on behind a prompt that is saved", async () => {
  const save = ["--save-cache", at("went-on.safetensors")];
  for (const args of [
    ["--policy", "tova", "--param", "budget=5", "--param", "when=decode"],
    ["--policy", "recycled-attention", "--param", "budget=4", "--param", "stride=2"],
    ["--policy", "xkv", "--param", "rank=8"],
  ]) {
    const free = ok(await generate(...args)).json<Document>();
    const saving = ok(await generate(...args, ...save)).json<Document>();
    expect([saving.ids, saving.policies, saving.cache]).toEqual([free.ids, free.policies, free.cache]);
  }
});

test("policies list and show tell of each what it chooses and takes", async () => {
  const list = ok(await headscope(["policies", "list", "--json"])).json<{ name: string; chooses: string }[]>();
  expect(list).toContainEqual(expect.objectContaining({ name: "snapkv", chooses: "tokens" }));
  expect(ok(await headscope(["policies", "show", "snapkv"])).stdout).toMatch(/window .*64/);
  expectLine(await headscope(["policies", "show", "snapkw"]), 2, /snapkv/);
});
