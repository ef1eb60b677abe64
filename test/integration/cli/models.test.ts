import { readdir, readFile, writeFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { readSafetensors } from "../../../backend/models/formats/safetensors/safetensors.ts";
import { commandFolder, expectLine, ok, spawnHeadscope } from "../../helpers/cli.ts";
import { headscope } from "../../helpers/headscope.ts";
import { patiently } from "../../helpers/runner/patience.ts";

// All of it on the model whose weights are written by hand: 0.0 previous token, 0.1 duplicate token, 0.2 and 1.2 sink, 1.1 induction.
const MODEL = ["--model", "toy-induction"];

/** BOS and twelve ids, twice. */
const half = [17, 5, 99, 42, 3, 64, 28, 7, 110, 55, 81, 12];
const row = [0, ...half, ...half];
const other = [0, ...half.map((id) => id + 1), ...half.map((id) => id + 1)];

const { at, file } = commandFolder();

describe("generate --stop", () => {
  test("ends at a token beside the model's own, and says so; digits are an id and a quoted text is none", async () => {
    const prompt = file("stops.json", [row]);
    const args = ["generate", ...MODEL, "--tokens-file", prompt, "--max-tokens", "3", "--json"];
    const free = ok(await headscope(args)).json<{ ids: number[]; stopped: object }>();
    expect(free.stopped).toEqual({ by: "limit", tokens: 3 });
    const stop = String(free.ids[1]);
    const ended = ok(await headscope([...args, "--stop", stop, "--stop", "127"])).json();
    expect(ended).toMatchObject({ ids: free.ids.slice(0, 1), stopped: { by: "token", id: free.ids[1] } });
    const text = await headscope([...args, "--stop", JSON.stringify(stop)]); // the toy has no tokenizer
    expect(text).toMatchObject({ code: 1, stderr: expect.stringContaining("no tokenizer") });
    expect(await headscope([...args, "--stop", "1000000"])).toMatchObject({ code: 1 });
  });
});

describe("generate", () => {
  test("continues repeated ids as the induction head says", async () => {
    const prompt = file("prompt.json", [row.slice(0, -3)]);
    const run = ok(
      await headscope(["generate", ...MODEL, "--tokens-file", prompt, "--max-tokens", "3", "--with-logits", "--json"]),
    );
    const { ids, cache, logits, text } = run.json<{
      ids: number[];
      cache: { bytes: number; bytesFull: number };
      logits: number[];
      text?: string;
    }>();
    expect(ids).toEqual(half.slice(-3));
    expect(cache.bytes).toBe(cache.bytesFull);
    expect(logits).toHaveLength(8);
    expect(text).toBeUndefined();
  });

  test("with a mask it keeps what the mask says, in less memory", async () => {
    const long = [0, ...Array.from({ length: 200 }, (_, i) => 1 + ((i * 37) % 100))];
    const prompt = file("long.json", [long]);
    const mask = file("mask.json", {
      format: "headscope.head-mask/1",
      model: { ref: "toy-induction", layers: 2, heads: 4, kvHeads: 4 },
      kvHeads: [Array(4).fill("streaming"), ["streaming", "retrieval", "streaming", "streaming"]],
      sink: 2,
      recent: 5,
    });
    const run = ok(
      await headscope(["generate", ...MODEL, "--tokens-file", prompt, "--max-tokens", "4", "--mask", mask, "--json"]),
    );
    const { cache } = run.json<{ cache: { bytes: number; bytesFull: number; kept: number[][][] } }>();
    expect(cache.kept.map((layer) => layer.map((held) => held.length))).toEqual([
      [7, 7, 7, 7],
      [7, 204, 7, 7],
    ]);
    expect(cache.bytes).toBeLessThan(0.3 * cache.bytesFull);
  });

  test.each([
    ["a text", ["--text", "hello"], 1, /toy-induction has no tokenizer.*--tokens-file/],
    ["nothing", [], 2, /no tokens are given; give one of --text and --tokens-file/],
    [
      "an unknown value",
      ["--tokens-file", "x", "--param", "prefill=thin"],
      2,
      /parameter prefill of generate cannot be "thin"; give masked \| dense/,
    ],
    [
      "a temperature below zero",
      ["--tokens-file", "x", "--temperature", "-1"],
      2,
      /--temperature cannot be "-1"; give a number from 0/,
    ],
  ])("%s is refused", async (_, args, code, line) => {
    expectLine(await headscope(["generate", ...MODEL, ...args]), code, line);
  });

  test("a prompt that leaves no room in the context is refused", async () => {
    const prompt = file("full.json", [Array(510).fill(1)]);
    expectLine(
      await headscope(["generate", ...MODEL, "--tokens-file", prompt]),
      1,
      /510 prompt tokens and 32 new ones exceed the context of 512; /,
    );
  });

  test("a mask of another model is refused", async () => {
    const prompt = file("prompt.json", [row]);
    const mask = file("alien.json", {
      format: "headscope.head-mask/1",
      model: { ref: "smollm2-135m", layers: 1, heads: 2, kvHeads: 1 },
      kvHeads: [["streaming"]],
    });
    expectLine(
      await headscope(["generate", ...MODEL, "--tokens-file", prompt, "--mask", mask]),
      1,
      /alien\.json is for smollm2-135m .*but the model is toy-induction .*; make it again with --model toy-induction/,
    );
  });
});

describe("forward", () => {
  test("writes the activations that are named, and logits", async () => {
    const tokens = file("tokens.json", [row, other]);
    const args = [
      "forward",
      ...MODEL,
      "--tokens-file",
      tokens,
      "--names",
      "blocks.*.attn.hook_pattern,hook_embed,logits",
    ];
    const run = ok(await headscope([...args, "--out", at("new/folder/f.safetensors"), "--json"]));
    const { tensors, metadata } = await readSafetensors(at("new/folder/f.safetensors"));
    const shapes = Object.fromEntries([...tensors].map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual({
      "blocks.0.attn.hook_pattern": [2, 4, 25, 25],
      "blocks.1.attn.hook_pattern": [2, 4, 25, 25],
      hook_embed: [2, 25, 448],
      logits: [2, 25, 128],
    });
    expect(run.json()).toMatchObject({ tensors: shapes, model: "toy-induction" });
    expect(metadata["headscope.model"]).toBe("toy-induction");
    const pattern = tensors.get("blocks.1.attn.hook_pattern")!.data;
    // Head 1 of layer 1, query 20 (a token of the second copy): all its attention on the token after the first copy's.
    expect(pattern[(1 * 25 + 20) * 25 + 20 - 11]).toBeGreaterThan(0.9);
  });

  test.each([
    [
      "an unknown hook name",
      "blocks.0.attn.hook_patern",
      /unknown hook name "blocks\.0\.attn\.hook_patern"; did you mean blocks\.0\.attn\.hook_pattern/,
    ],
    ["a layer that is not there", "blocks.2.attn.hook_z", /no layer 2; layers are 0 to 1/],
  ])("%s is refused and nothing is written", async (_, names, line) => {
    const tokens = file("tokens.json", [row]);
    const out = at("none.safetensors");
    expectLine(
      await headscope(["forward", ...MODEL, "--tokens-file", tokens, "--names", names, "--out", out]),
      2,
      line,
    );
    expect((await readdir(at(""))).filter((name) => name.startsWith("none"))).toEqual([]);
  });

  test.each([
    ["no JSON", "[[1,", /tokens\.json is not JSON at line 1, column 5/],
    [
      "an id outside the vocabulary",
      [[1, 128]],
      /row 0, position 1: id 128 is outside the vocabulary; ids are 0 to 127/,
    ],
    ["a row beyond the context", [Array(513).fill(1)], /row 0 has 513 tokens, more than the model's context of 512/],
  ])("a tokens file with %s is refused", async (_, content, line) => {
    const tokens = file("tokens.json", content);
    expectLine(
      await headscope([
        "forward",
        ...MODEL,
        "--tokens-file",
        tokens,
        "--names",
        "logits",
        "--out",
        at("none.safetensors"),
      ]),
      1,
      line,
    );
  });

  test.each([
    ["truncated", Buffer.concat([Buffer.from("GGUF"), Buffer.alloc(20, 255)])],
    ["empty", Buffer.alloc(0)],
    ["some other file", Buffer.from("hello, this is no model")],
  ])("a checkpoint that is %s is refused with its path", async (_, content) => {
    await writeFile(at("bad.gguf"), content);
    const tokens = file("tokens.json", [row]);
    const run = await headscope([
      "forward",
      "--model",
      at("bad.gguf"),
      "--tokens-file",
      tokens,
      "--names",
      "logits",
      "--out",
      at("none.safetensors"),
    ]);
    expectLine(run, 1, /bad\.gguf.*; /);
  });
});

describe("ablate", () => {
  test("without the induction head the second copy is no better than the first", async () => {
    const tokens = file("tokens.json", [row, other]);
    const args = ["ablate", ...MODEL, "--tokens-file", tokens, "--heads", "1.1", "--json"];
    const result = ok(await headscope([...args, "--method", "zero"])).json<{
      clean: { loss: number; nll: number[][] };
      ablated: { loss: number; nll: number[][] };
      control: { mean: number; draws: { heads: string[] }[] };
      heads: string[];
      method: string;
    }>();
    expect(result).toMatchObject({ heads: ["1.1"], method: "zero" });
    expect(result.clean.nll.map((losses) => losses.length)).toEqual([24, 24]);
    expect(result.clean.nll[0]!.at(-1)).toBeLessThan(0.1);
    expect(result.ablated.nll[0]!.at(-1)).toBeGreaterThan(3);
    expect(result.control.mean).toBeCloseTo(result.clean.loss, 3);
    expect(result.control.draws).toHaveLength(5);
    const bare = ok(await headscope([...args, "--method", "mean", "--controls", "0"])).json();
    expect(bare).not.toHaveProperty("control");
  });

  test.each([
    ["a head that is not there", ["--heads", "1.9"], 2, /no head 1\.9.*; layers are 0 to 1, heads 0 to 3/],
    ["text that names no head", ["--heads", "best"], 2, /"best" is not a head; write LAYER\.HEAD/],
    [
      "an unknown method",
      ["--heads", "1.1", "--method", "meen"],
      2,
      /--method cannot be "meen"; give one of zero, mean, resample/,
    ],
  ])("%s is refused", async (_, args, code, line) => {
    const tokens = file("one.json", [row]);
    expectLine(await headscope(["ablate", ...MODEL, "--tokens-file", tokens, ...args]), code, line);
  });

  test("the mean over one row draws from random rows, and says so", async () => {
    const tokens = file("one.json", [row]);
    const args = ["ablate", ...MODEL, "--tokens-file", tokens, "--heads", "1.1", "--method", "mean", "--controls", "0"];
    const { stdout } = await headscope(args);
    expect(stdout).toMatch(/mean over 8 rows of random tokens; --reference-file gives it rows of your own/);
  });
});

describe("patch", () => {
  test("the induction head carries the difference", async () => {
    const [clean, corrupt] = [
      [0, ...half, ...half.slice(0, 5)],
      [0, ...half, ...half.slice(0, 4), half[7]],
    ];
    const pair = file("pair.json", { clean, corrupt, answer: half[5], wrong: half[8] });
    const args = ["patch", ...MODEL, "--pair-file", pair, "--node", "z", "--by", "head", "--json"];
    const result = ok(await headscope(args)).json<{ clean: number; corrupt: number; patched: number[][] }>();
    expect(result.clean).toBeGreaterThan(5);
    expect(result.corrupt).toBeLessThan(-5);
    expect(result.patched.map((layer) => layer.length)).toEqual([4, 4]);
    expect(result.patched[1]![1]).toBeCloseTo(result.clean, 2);
    expect(result.patched[1]![0]).toBeCloseTo(result.corrupt, 2);
  });

  test("sides of different lengths are refused", async () => {
    const pair = file("pair.json", { clean: [1, 2, 3], corrupt: [1, 2], answer: 1, wrong: 2 });
    expectLine(
      await headscope(["patch", ...MODEL, "--pair-file", pair, "--node", "z", "--by", "head"]),
      1,
      /pair\.json: the clean prompt has 3 tokens and the corrupt one 2; .*two sides of one length/,
    );
  });
});

describe("probe", () => {
  test("prints and writes the same scores, and its heads can be named from the file", async () => {
    const tokens = file("tokens.json", [row, other]);
    const args = [
      "probe",
      "induction",
      ...MODEL,
      "--tokens-file",
      tokens,
      "--param",
      "length=12",
      "--out",
      at("induction.json"),
      "--json",
    ];
    const scores = ok(await headscope(args)).json<{
      metrics: Record<string, { values: number[][] }>;
      model: { ref: string };
    }>();
    expect(scores.metrics["induction"]!.values[1]![1]).toBeGreaterThan(0.9);
    expect(JSON.parse(await readFile(at("induction.json"), "utf8"))).toEqual(scores);
    const heads = `top:1@${at("induction.json")}#induction`;
    const ablation = ok(await headscope(["ablate", ...MODEL, "--tokens-file", tokens, "--heads", heads, "--json"]));
    expect(ablation.json()).toMatchObject({ heads: ["1.1"] });
  });

  test.each([
    ["an unknown probe", ["inductoin"], 2, /unknown probe "inductoin"; did you mean induction/],
    [
      "an unknown parameter",
      ["induction", "--param", "lenght=12"],
      2,
      /unknown parameter "lenght" of probe induction; did you mean length/,
    ],
    [
      "an unknown model",
      ["induction", "--model", "toy-inducton"],
      2,
      /unknown model "toy-inducton"; did you mean toy-induction/,
    ],
  ])("%s is refused", async (_, args, code, line) => {
    expectLine(await headscope(["probe", ...MODEL, ...args]), code, line);
  });

  test("rows of different lengths are refused", async () => {
    const tokens = file("ragged.json", [row, row.slice(1)]);
    expectLine(
      await headscope(["probe", "previous-token", ...MODEL, "--tokens-file", tokens, "--param", "length=12"]),
      1,
      /ragged\.json: row 1 .*24 tokens.*; /,
    );
  });
});

describe("Ctrl-C", () => {
  test("ends with 130, one line, and nothing half-written", async () => {
    const tokens = file(
      "many.json",
      Array.from({ length: 8 }, () => Array.from({ length: 512 }, (_, i) => i % 128)),
    );
    const run = await spawnHeadscope(
      ["ablate", ...MODEL, "--tokens-file", tokens, "--heads", "1.1", "--controls", "50"],
      {
        onSpawn: (child) => setTimeout(() => child.kill("SIGINT"), patiently(300)),
      },
    );
    // A machine that is slow has told of its progress before.
    const stderr = run.stderr.replaceAll(/^ {2}ablation, rows: \d+ %\n/gm, "");
    expect({ ...run, stderr }).toMatchObject({ code: 130, stdout: "", stderr: "headscope: interrupted\n" });
    expect((await readdir(at(""))).filter((name) => name.includes(".part"))).toEqual([]);
  });
});
