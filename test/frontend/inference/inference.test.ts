import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { maskFromKvHeads } from "../../../backend/common/heads/mask.ts";
import { meaningOf } from "../../../backend/common/heads/meaning.ts";
import { headModel } from "../../../backend/common/heads/model.ts";
import { generate } from "../../../backend/inference/generate.ts";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { rowsAllocated } from "../../../backend/models/cache/page-rows.ts";
import type { Model } from "../../../backend/models/model.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { exportHeadsCommand, generateCommand, needleCommand } from "../../../frontend/src/inference/commands.ts";
import type { ExportFormat } from "../../../frontend/src/inference/export/formats.ts";
import {
  askFor,
  type Choice,
  defaultScores,
  defaultTop,
  defaultWindow,
  maskFile,
  nameProblem,
  withMask,
} from "../../../frontend/src/inference/mask/choice.ts";
import {
  allFull,
  curves,
  curveTokens,
  kvBytes,
  shapeOf,
  splitOf,
  tokensIn,
} from "../../../frontend/src/inference/memory/kv.ts";
import { readStops } from "../../../frontend/src/inference/text/stops.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

await initBackend();
let model: Model;
beforeAll(() => {
  model = randomModel(smallConfig());
});
afterAll(() => {
  model.dispose();
});

/** As held: a row of the kernels' takes whole vectors of the processor's. */
const held = { ...shapeOf(smallConfig()), dHead: new KvCache(smallConfig()).storage.rowBytes / 2 / 4 };

const some = () => [
  { layer: 0, head: 1 },
  { layer: 2, head: 0 },
];

describe("predicted KV bytes", () => {
  it.each([
    { prompt: 5, maxTokens: 4, sink: 4, recent: 8 },
    { prompt: 40, maxTokens: 9, sink: 4, recent: 8 },
    { prompt: 63, maxTokens: 1, sink: 0, recent: 1 },
    { prompt: 64, maxTokens: 1, sink: 64, recent: 256 },
  ])("are what a generation reports: $prompt + $maxTokens tokens, window $sink + $recent", async (given) => {
    const { prompt, maxTokens, sink, recent } = given;
    const mask = maskFromKvHeads(headModel(model), some(), { sink, recent });
    const [ids] = randomTokens(1, prompt, 96);
    for (const prefill of ["masked", "dense"] as const) {
      const { cache } = await generate(model, { tokens: ids!, maxTokens, mask, prefill, stop: [] });
      // A cache grows by pages; the last new token is never put into it.
      const tokens = rowsAllocated(prompt + maxTokens - 1);
      expect(kvBytes(held, splitOf(mask), tokens)).toBe(cache.bytes);
      expect(kvBytes(held, allFull(held), tokens)).toBe(cache.bytesFull);
      expect(tokensIn(held, cache.bytesFull)).toBe(tokens);
    }
  });

  it("are what a cache allocates", () => {
    const mask = maskFromKvHeads(headModel(model), some(), { sink: 2, recent: 30 });
    const cache = new KvCache(model.config, { capacity: 512, windows: meaningOf(mask).windows });
    cache.prepare(512);
    expect(kvBytes(held, splitOf(mask), 512)).toBe(cache.bytes);
    cache.dispose();
  });

  it("follow the closed form: 30 layers of 3 KV heads of 64, 23 full, at 8,192 tokens", () => {
    const shape = { layers: 30, kvHeads: 3, dHead: 64 };
    const split = { full: 23, streaming: 67, sink: 64, recent: 256 };
    expect(kvBytes(shape, allFull(shape), 8192)).toBe(90 * 8192 * 64 * 2 * 4);
    expect(kvBytes(shape, split, 8192)).toBe((23 * 8192 + 67 * 320) * 512);
    expect(kvBytes(shape, split, 320)).toBe(kvBytes(shape, allFull(shape), 320));
  });

  it("are drawn from 512 tokens to the context, with the bend among them", () => {
    const split = { full: 1, streaming: 5, sink: 64, recent: 900 };
    const tokens = curveTokens(2048, split);
    expect([tokens[0], tokens.at(-1)]).toEqual([512, 2048]);
    expect(tokens).toContain(964);
    expect(curveTokens(64, split)[0]).toBe(1);
    const drawn = curves({ layers: 3, kvHeads: 2, dHead: 8 }, split, 2048);
    expect(drawn.full.at(-1)).toBe((6 * 2048 * 8 * 2 * 4) / 1e6);
    drawn.masked.forEach((value, i) => {
      expect(value).toBeLessThanOrEqual(drawn.full[i]!);
    });
  });
});

const shape = { layers: 3, heads: 6, kvHeads: 2 };
const choice: Choice = {
  source: "score", scores: "start/retrieval.json", metric: "retrieval", rule: "top", value: 2, effect: "keep", heads: [],
  kvHeads: [], library: "", sink: 64, recent: 256,
}; // biome-ignore format: a table

describe("a choice of heads", () => {
  it("asks for a mask by the one rule that is chosen", () => {
    expect(askFor(choice, "m", shape)).toEqual({
      post: { scores: "start/retrieval.json", metric: "retrieval", top: 2, sink: 64, recent: 256 },
    });
    expect(askFor({ ...choice, rule: "quantile", value: 0.5 }, "m", shape)).toHaveProperty("post.quantile", 0.5);
    expect(askFor({ ...choice, scores: "" }, "m", shape)).toHaveProperty("missing");
  });

  it("keeps the KV heads of selected query heads, or ablates the heads themselves", () => {
    const heads = ["0.4", "0.5", "2.0"];
    expect(askFor({ ...choice, source: "heads", heads }, "m", shape)).toEqual({
      post: { model: "m", kvHeads: ["0.1", "2.0"], sink: 64, recent: 256 },
    });
    expect(askFor({ ...choice, source: "heads", heads, effect: "ablate" }, "m", shape)).toEqual({
      post: { model: "m", ablate: heads },
    });
    expect(askFor({ ...choice, source: "heads" }, "m", shape)).toHaveProperty("missing");
    expect(askFor({ ...choice, source: "library", library: "masks/a.json" }, "m", shape)).toEqual({
      read: "masks/a.json",
    });
  });

  it("begins with a quarter of the KV heads by the newest retrieval scores", () => {
    expect(defaultTop({ layers: 30, kvHeads: 3 })).toBe(23);
    expect(defaultTop({ layers: 1, kvHeads: 1 })).toBe(1);
    const documents = ["induction", "retrieval", "retrieval", "previous-token"].map((probe, i) => ({
      id: `${i}`,
      probe,
    }));
    expect(defaultScores(documents)).toBe("2");
    expect(defaultScores([])).toBe("");
    expect(defaultWindow(8192)).toEqual({ sink: 64, recent: 256 });
    expect(defaultWindow(64)).toEqual({ sink: 1, recent: 7 });
  });

  it("is a command line that makes the file, unless it is saved", () => {
    const mask = maskFromKvHeads({ ref: "it's", ...shape }, some());
    expect(withMask(maskFile(choice, undefined, mask), (file) => `next ${file}`)).toBe(
      "npx headscope mask --scores .headscope/start/retrieval.json --metric retrieval --top 2 --sink 64 --recent 256 --out mask.json\nnext mask.json",
    );
    expect(withMask(maskFile(choice, "masks/a.json", mask), (file) => `next ${file}`)).toBe(
      "next .headscope/masks/a.json",
    );
    expect(maskFile(choice, undefined, undefined)).toEqual({});
  });

  it("of single heads is written out by a line that the shell gives back as it was", () => {
    const mask = maskFromKvHeads({ ref: "it's", ...shape }, some());
    const { make, file } = maskFile({ ...choice, source: "hand" }, undefined, mask);
    expect(file).toBe("mask.json");
    const written = execFileSync("sh", ["-c", make!.replace(" > mask.json", "")], { encoding: "utf8" });
    expect(JSON.parse(written)).toEqual(mask);
  });

  it("is saved under a name that makes a file name", () => {
    expect(["a", "quarter-1.json", ""].map(nameProblem)).toEqual([undefined, undefined, undefined]);
    for (const bad of ["../x", ".hidden", "a b", "x".repeat(65)]) expect(nameProblem(bad)).toBeTypeOf("string");
  });
});

describe("the command behind it", () => {
  const file = { make: "make it", file: "mask.json" };
  const streaming = { streams: true, file, ablated: [] };
  const ablating = { streams: false, file, ablated: ["0.1", "2.0"] };
  const given = { model: "m", maxTokens: 8, temperature: 0, seed: 3 };

  it("continues a text or ids with the mask, or without the heads", () => {
    expect(
      generateCommand({ ...given, text: "a b", bos: false, chat: true }, streaming, { prefill: "dense", policies: [] }),
    ).toBe(
      "make it\nnpx headscope generate --model m --text 'a b' --no-prepend-bos --chat --max-tokens 8 --seed 3 --mask mask.json --param prefill=dense",
    );
    expect(generateCommand({ ...given, tokens: [1, 2] }, ablating, { prefill: "masked", policies: [] })).toBe(
      "echo '[[1,2]]' > tokens.json\nnpx headscope generate --model m --tokens-file tokens.json --max-tokens 8 --seed 3 --ablate 0.1,2.0",
    );
  });

  it("continues under policies, of which the mask is one then", () => {
    const policies = [{ name: "snapkv", params: { ratio: "0.75", window: "16" } }];
    const less = { prefill: "dense" as const, policies };
    expect(generateCommand({ ...given, text: "a" }, streaming, less)).toBe(
      "make it\nnpx headscope generate --model m --text a --max-tokens 8 --seed 3 --policy duo-attention,snapkv " +
        "--param duo-attention.mask=mask.json --param duo-attention.prefill=dense --param snapkv.ratio=0.75 --param snapkv.window=16",
    );
    expect(generateCommand({ ...given, text: "a" }, undefined, less)).toContain(
      "--policy snapkv --param snapkv.ratio=0.75",
    );
  });

  it("names the stops of a generation as the terminal takes them", () => {
    const stop = ["\n\n", "###", "42", 106];
    expect(generateCommand({ ...given, text: "a", stop }, ablating, { prefill: "masked", policies: [] })).toContain(
      `--stop '"\\n\\n"' --stop '###' --stop '"42"' --stop 106`,
    );
  });

  it("asks the same needle questions", () => {
    const ask = { model: "m", lengths: [512, 1024], depths: [0.1, 0.5], needles: 2, maxTokens: 12, seed: 0 };
    expect(needleCommand(ask, { file: ".headscope/masks/a.json" })).toBe(
      "npx headscope needle --model m --mask .headscope/masks/a.json --lengths 512,1024 --depths 0.1,0.5 --needles 2 --max-tokens 12",
    );
  });

  it("asks needle questions under policies, beside which the mask is one", () => {
    const ask = { model: "m", lengths: [512], depths: [0.5], needles: 1, maxTokens: 12, seed: 0 };
    const held = { prefill: "dense" as const, policies: [{ name: "snapkv", params: { ratio: "0.75" } }] };
    expect(needleCommand(ask, { file: "a.json" }, held)).toBe(
      "npx headscope needle --model m --policy duo-attention,snapkv --param duo-attention.mask=a.json --param duo-attention.prefill=dense --param snapkv.ratio=0.75 --lengths 512 --depths 0.5 --needles 1 --max-tokens 12",
    );
    expect(needleCommand(ask, undefined, { ...held, prefill: "masked" })).toContain("--policy snapkv --param snapkv");
  });

  it("exports scores, a mask's file, or heads that are in no file", () => {
    const format = (name: string, output: "file" | "folder", needsCheckpoint = false) =>
      ({ name, output, needsCheckpoint }) as ExportFormat;
    const ask = { from: "mask" as const, model: "m", scores: "start/a.json", params: {} };
    expect(exportHeadsCommand({ ...ask, format: format("duo-attention", "folder") }, streaming)).toBe(
      "make it\nnpx headscope export duo-attention --mask mask.json --out duo-attention",
    );
    expect(exportHeadsCommand({ ...ask, format: format("hf-prune", "file") }, ablating)).toBe(
      "npx headscope export hf-prune --heads 0.1,2.0 --model m --out heads.json",
    );
    expect(
      exportHeadsCommand({ ...ask, format: format("csv", "file"), from: "scores", params: { metric: "x" } }, streaming),
    ).toBe("npx headscope export csv --scores .headscope/start/a.json --param metric=x --out heads.csv");
  });
});

describe("what a person writes to end a generation", () => {
  it.each([
    ["", []],
    ["  ", []],
    ["106", [106]],
    ['"\\n\\n", 106', ["\n\n", 106]],
    ["###", ["###"]],
    ["Q: ", ["Q: "]],
    ['""', ['""']],
    ["1.5", ["1.5"]],
    ['"unfinished', ['"unfinished']],
  ])("%j is read as %j", (text, stops) => {
    expect(readStops(text)).toEqual(stops);
  });
});
