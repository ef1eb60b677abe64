// Small model files that would take minutes and gigabytes are refused at once; the largest real ones pass.
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HeadscopeError } from "../../backend/common/errors.ts";
import type { ModelConfig } from "../../backend/models/config.ts";
import type { Checkpoint } from "../../backend/models/formats/checkpoint.ts";
import { parseGgufHeader } from "../../backend/models/formats/gguf/header.ts";
import { openCheckpoint } from "../../backend/models/formats/open.ts";
import { encodeSafetensors } from "../../backend/models/formats/safetensors/safetensors.ts";
import { readRunCheckpoint } from "../../backend/models/sources/run-checkpoint.ts";
import { tokenizerOf } from "../../backend/models/tokenizers/files/files.ts";
import { tokenizerFromGguf } from "../../backend/models/tokenizers/files/gguf.ts";
import { tokenizerFromJson } from "../../backend/models/tokenizers/files/json.ts";
import { mergeRanks } from "../../backend/models/tokenizers/models/merge-ranks.ts";
import { parameterCount, parameterLayout, parametersOf } from "../../backend/models/weights/trainable.ts";
import { ggufArray, ggufHeader, ggufStart, ggufString } from "../helpers/formats/gguf-bytes.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-model-files-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Milliseconds of a processor that this process has used: how busy the machine is does not count. */
function used(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** The refusal that some work ends in. @param most milliseconds of a processor that are ample for it */
async function refusal(work: () => unknown, most: number): Promise<HeadscopeError> {
  const start = used();
  const error = await Promise.resolve()
    .then(work)
    .then(
      () => expect.unreachable("it was accepted"),
      (error: unknown) => error,
    );
  expect(error).toBeInstanceOf(HeadscopeError);
  expect(used() - start).toBeLessThan(most);
  return error as HeadscopeError;
}

const AT_ONCE = 2_000;
const SECONDS = 10_000;

describe("a run file", () => {
  const config: ModelConfig = {
    n_layers: 2, n_heads: 2, n_key_value_heads: 2, d_model: 8, d_head: 4, d_mlp: 32, n_ctx: 16, d_vocab: 10,
    act_fn: "gelu", gated_mlp: false, attn_only: false, normalization_type: "LN", eps: 1e-5, final_norm: true,
    positional_embedding_type: "rotary", rotary_base: 10_000, rotary_dim: 4, tie_word_embeddings: false, attn_scale: 0.5,
  }; // biome-ignore format: a table

  function fileOf(changes: object, { numbers = 100, spec = "{}", step = "0" } = {}): string {
    const path = join(folder, "run.safetensors");
    const tensors = { parameters: { dtype: "F32" as const, shape: [numbers], data: new Float32Array(numbers) } };
    const text = JSON.stringify({ ...config, ...changes });
    const metadata = { format: "headscope.checkpoint/1", step, seed: "0", config: text, spec };
    writeFileSync(path, Buffer.concat([...encodeSafetensors(tensors, metadata)]));
    return path;
  }

  const huge = 2 ** 24;
  test.each<[string, object]>([
    ["a thousand million layers", { n_layers: 1e9 }],
    ["more layers than numbers", { n_layers: 4_096 }],
    ["no layers", { n_layers: 0 }],
    ["half a layer", { n_layers: 1.5 }],
    ["a negative width", { d_model: -8 }],
    ["widths whose product is the number of numbers", { d_model: -8, d_vocab: -10 }],
    ["a vocabulary of 2^40", { d_vocab: 2 ** 40 }],
    ["a vocabulary that does not fit", { d_vocab: huge }],
    ["heads by the million", { n_heads: 1e6, n_key_value_heads: 1e6 }],
    ["key heads that do not divide the heads", { n_key_value_heads: 3 }],
    ["a context of 10^12", { n_ctx: 1e12 }],
    ["widths as text", { d_model: "8" }],
    ["no widths", { d_model: null }],
    ["an activation of no name", { act_fn: "constructor" }],
    ["layers of a kind without an end", { attn_types: Array.from({ length: 5_000 }, () => "local") }],
    ["a million readout layers", { readout_hidden: Array.from({ length: 1e5 }, () => 1) }],
    ["rotated dimensions that a head has not", { rotary_dim: 4_096 }],
    ["an unknown stretch of frequencies", { rotary_scaling: { type: "toString" } }],
  ])("with %s is refused at once", async (_, changes) => {
    expect((await refusal(() => readRunCheckpoint(fileOf(changes)), AT_ONCE)).kind).toBe("corrupt");
  });

  test.each<[string, { spec?: string; step?: string }]>([
    ["a spec that nests without an end", { spec: "[".repeat(5_000) + "]".repeat(5_000) }],
    ["a spec that is no JSON", { spec: "{" }],
    ["a step that is no number", { step: "later" }],
    ["a negative step", { step: "-1" }],
  ])("with %s is refused", async (_, metadata) => {
    const path = fileOf({}, { numbers: parameterCount(parameterLayout(config)), ...metadata });
    expect((await refusal(() => readRunCheckpoint(path), AT_ONCE)).kind).toBe("corrupt");
  });

  test("that asks for more memory than there is is refused before it is read", async () => {
    const numbers = parameterCount(parameterLayout(config));
    const memory = process.env["HEADSCOPE_MEMORY"];
    process.env["HEADSCOPE_MEMORY"] = "1000B";
    try {
      expect((await refusal(() => readRunCheckpoint(fileOf({}, { numbers })), AT_ONCE)).kind).toBe("unsupported");
    } finally {
      if (memory === undefined) delete process.env["HEADSCOPE_MEMORY"];
      else process.env["HEADSCOPE_MEMORY"] = memory;
    }
    expect((await readRunCheckpoint(fileOf({}, { numbers }))).config).toEqual(config);
  });

  test.each<[string, Partial<ModelConfig>]>([
    ["plain", {}],
    ["of one layer", { n_layers: 1 }],
    ["gated, without norms", { gated_mlp: true, normalization_type: null, final_norm: false }],
    ["with tied ends and norms of keys", { tie_word_embeddings: true, qk_norm: "all", norm_placement: "both" }],
    ["of vectors, with a readout", { d_input: 5, d_vocab_out: 1, readout_hidden: [7, 3], n_layers: 5 }],
  ])("of a config %s has as many numbers as its layout", (_, changes) => {
    const changed = { ...config, ...changes };
    expect(parametersOf(changed)).toBe(parameterCount(parameterLayout(changed)));
  });
});

describe("a GGUF header", () => {
  /** A file whose beginning is given and whose rest is zeros. */
  async function openSparse(start: readonly Uint8Array[], bytes: number): Promise<HeadscopeError> {
    const path = join(folder, "sparse.gguf");
    writeFileSync(path, Buffer.concat(start));
    truncateSync(path, bytes);
    return refusal(async () => (await openCheckpoint(path)).close(), AT_ONCE);
  }
  const key = ggufString("general.tags");

  test("of five million empty arrays in one is refused at once", async () => {
    const error = await openSparse([ggufStart(0, 1), key, ggufArray(9, 5_000_000)], 60_000_100);
    expect(error.kind).toBe("corrupt");
    expect(error.message).toContain("4194304");
  });

  test("of half a million empty arrays, ten in each of many, is refused at once", async () => {
    const inner = Buffer.concat([ggufArray(9, 10).subarray(4), Buffer.alloc(120)]);
    const start = [ggufStart(0, 1), key, ggufArray(9, 50_000), ...Array.from({ length: 50_000 }, () => inner)];
    expect((await openSparse(start, 7_000_000)).kind).toBe("corrupt");
  });

  test("whose arrays are within the limit each and beyond it together is refused", async () => {
    const bytes = 1_000_000;
    const start = Array.from({ length: 6 }, (_, i) => [
      ...[ggufString(`general.${i}`), ggufArray(0, bytes), Buffer.alloc(bytes)],
    ]);
    expect((await openSparse([ggufStart(0, 6), ...start.flat()], 6_001_000)).kind).toBe("corrupt");
  });

  test.each([
    ["a million keys", 0, 1_000_000],
    ["a million tensors", 1_000_000, 0],
  ])("that announces %s is refused at once", async (_, tensors, keys) => {
    expect((await openSparse([ggufStart(tensors, keys)], 60_000_000)).kind).toBe("corrupt");
  });

  test("with names of many megabytes is refused", async () => {
    const long = "n".repeat(10_000_000);
    const start = [0, 1].flatMap((i) => [ggufString(`${long}${i}`), Buffer.alloc(5)]);
    expect((await openSparse([ggufStart(0, 2), ...start], 21_000_000)).kind).toBe("corrupt");
  });

  test("of the size of Gemma 3's is read, with room for twice as much", () => {
    const tokens = Array.from({ length: 262_144 }, (_, id) => `token ${id}`);
    const bytes = ggufHeader({
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.scores": new Float32Array(tokens.length),
      "tokenizer.ggml.token_type": new Int32Array(tokens.length).fill(1),
      "tokenizer.ggml.merges": [...tokens, ...tokens],
      "of another kind": new Int32Array(1_300_000),
    });
    const { metadata } = parseGgufHeader(bytes, bytes.length, "gemma.gguf");
    expect(metadata["tokenizer.ggml.merges"]).toHaveLength(2 * tokens.length);
  });
});

/** A byte-level tokenizer.json of a few letters, with changes. */
const letters = Object.fromEntries([..."abcdefgh "].map((letter, id) => [letter, id]));
const tokenizerJson = (changes: object = {}, model: object = {}) => ({
  version: "1.0",
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: null,
  post_processor: null,
  decoder: null,
  model: { type: "BPE", vocab: letters, merges: [], ...model },
  ...changes,
});
const endless = { Regex: "^(a+)+$" };
const text = `${"a".repeat(60)}b`;

describe("a tokenizer.json", () => {
  const folderOf = (files: Readonly<Record<string, string>>): Checkpoint => {
    const home = mkdtempSync(join(folder, "tokenizer-"));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(home, name), content);
    return { format: "safetensors", path: join(home, "model.safetensors") } as Checkpoint;
  };
  const written = (changes: object = {}, model: object = {}) => JSON.stringify(tokenizerJson(changes, model));

  test("that is in order works", async () => {
    const { tokenizer } = await tokenizerOf(folderOf({ "tokenizer.json": written() }));
    expect(tokenizer?.encode("abba")).toEqual([0, 1, 1, 0]);
  });

  test.each<[string, () => string]>([
    ["an id of 10^9", () => written({}, { vocab: { ...letters, z: 1e9 } })],
    ["a negative id", () => written({}, { vocab: { ...letters, z: -1 } })],
    ["an added token's id of 10^9", () => written({ added_tokens: [{ id: 1e9, content: "<s>", special: true }] })],
    ["two million merges", () => written({}, { merges: Array.from({ length: 2e6 }, () => "a b") })],
    ["a token of 40,000 characters", () => written({}, { vocab: { ...letters, ["z".repeat(40_000)]: 9 } })],
    ["a key that stands twice", () => written().replace('"a":0', '"a":0,"a":1')],
    ["nesting without an end", () => `{"normalizer":${"[".repeat(5_000)}${"]".repeat(5_000)}}`],
    ["a list in place of an object", () => "[]"],
    ["a million steps", () => written({ normalizer: Array.from({ length: 1e5 }, () => ({ type: "NFC" })) })],
  ])("with %s is refused at once", async (_, content) => {
    const checkpoint = folderOf({ "tokenizer.json": content() });
    const start = used();
    const { tokenizer, tokenizerFault } = await tokenizerOf(checkpoint);
    expect(used() - start).toBeLessThan(AT_ONCE);
    expect(tokenizer).toBeUndefined();
    expect(tokenizerFault).toBeTypeOf("string");
  });

  test.each<[string, string]>([
    ["chat_template", '{"chat_template":[null]}'],
    ["chat_template", '{"chat_template":[{"name":"default","template":7}]}'],
    ["bos_token", '{"bos_token":{"content":[]}}'],
    ["__proto__", '{"__proto__":{"chat_template":"{{ 1 }}"}}'],
  ])("beside a tokenizer_config.json with an odd %s is read without it", async (_, config) => {
    const files = { "tokenizer.json": written(), "tokenizer_config.json": config };
    const { tokenizer } = await tokenizerOf(folderOf(files));
    expect(tokenizer).toMatchObject({ chats: false, size: 9 });
    expect(tokenizer!.bos).toBeUndefined();
  });

  test("whose post-processor is of an odd type is no defect", async () => {
    const processor = { type: "TemplateProcessing", single: 7 };
    const { tokenizer, tokenizerFault } = await tokenizerOf(folderOf({ "tokenizer.json": written({ post_processor: processor }) })); // biome-ignore format: one value
    expect(tokenizer).toBeUndefined();
    expect(tokenizerFault).toMatch(/post_processor/);
  });

  test.each<[string, object]>([
    ["a cut of texts", { pre_tokenizer: { type: "Split", pattern: endless, behavior: "Isolated", invert: false } }],
    ["a normalizer", { normalizer: { type: "Replace", pattern: endless, content: "" } }],
  ])("with %s that backtracks for ever ends in seconds", async (_, changes) => {
    const tokenizer = tokenizerFromJson(tokenizerJson(changes), {});
    expect(await refusal(() => tokenizer.encode(text), SECONDS)).toMatchObject({ kind: "unsupported" });
    expect(tokenizer.encode("b")).toEqual([1]);
  });

  test("with a decoder that backtracks for ever ends in seconds", async () => {
    const tokenizer = tokenizerFromJson(tokenizerJson({ decoder: { type: "Replace", pattern: { Regex: "(a+)+ab" }, content: "" } }), {}); // biome-ignore format: one value
    const vocab = { ...letters, [text.slice(0, -1)]: 9 };
    const long = tokenizerFromJson(tokenizerJson({ decoder: { type: "Replace", pattern: { Regex: "^(a+)+$" }, content: "" } }, { vocab: { ...vocab, [text]: 10 } }), {}); // biome-ignore format: one value
    expect(tokenizer.decode([1])).toBe("b");
    expect((await refusal(() => long.decode([10]), SECONDS)).kind).toBe("unsupported");
  });

  test("that backtracks over the first letter is no tokenizer", async () => {
    const first = { type: "Prepend", prepend: text };
    const replace = { type: "Replace", pattern: { Regex: "(a+)+$" }, content: "" };
    const normalizer = {
      type: "Sequence",
      normalizers: [first, { type: "Replace", pattern: { String: "ba" }, content: "b" }, replace],
    };
    const checkpoint = folderOf({ "tokenizer.json": written({ normalizer }) });
    const start = used();
    const { tokenizer } = await tokenizerOf(checkpoint);
    if (tokenizer) expect((await refusal(() => tokenizer.encode("a"), SECONDS)).kind).toBe("unsupported");
    expect(used() - start).toBeLessThan(SECONDS);
  });
});

describe("a tokenizer in a GGUF file", () => {
  const metadataWith = (changes: object) => ({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "b", "ab"],
    "tokenizer.ggml.merges": ["a b"],
    ...changes,
  });
  test.each<[string, object]>([
    ["two million merges", { "tokenizer.ggml.merges": Array.from({ length: 2e6 }, () => "a b") }],
    ["two million tokens", { "tokenizer.ggml.tokens": Array.from({ length: 2e6 }, (_, i) => `${i}`) }],
  ])("with %s is refused at once", async (_, changes) => {
    expect(tokenizerFromGguf(metadataWith({})).encode("ab")).toEqual([2]);
    expect((await refusal(() => tokenizerFromGguf(metadataWith(changes)).encode("ab"), AT_ONCE)).kind).toBe("corrupt");
  });
});

describe("a SentencePiece vocabulary", () => {
  test("with a token of 40,000 characters is refused at once", async () => {
    const tokens = ["a", "a".repeat(40_000)];
    expect((await refusal(() => mergeRanks(tokens, [0, 0], () => true), AT_ONCE)).kind).toBe("corrupt");
  });

  test("with many long tokens is refused at once", async () => {
    const tokens = Array.from({ length: 20_000 }, (_, i) => `${"a".repeat(1_000)}${i}`);
    const scores = new Float32Array(tokens.length);
    expect((await refusal(() => mergeRanks(tokens, scores, () => true), AT_ONCE)).kind).toBe("corrupt");
  });

  test("with the longest tokens in use is read", () => {
    const tokens = Array.from({ length: 256 }, (_, i) => "▁".repeat(i + 1));
    expect(mergeRanks(tokens, new Float32Array(256), () => true).size).toBe((255 * 256) / 2);
  });
});

describe("a chat template", () => {
  const chatOf = (template: string) => {
    const tokenizer = tokenizerFromGguf({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.tokens": ["a", "b"],
      "tokenizer.ggml.merges": [],
      "tokenizer.chat_template": template,
    });
    return tokenizer.chat([{ role: "user", content: "hello" }], { addGenerationPrompt: true });
  };
  const usual = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"; // biome-ignore format: one value

  test("that is usual writes the conversation", () => {
    expect(chatOf(usual)).toBe("<user>hello<assistant>");
  });

  const loop = (times: number, inside: string) => `{% for i in range(${times}) %}${inside}{% endfor %}`;
  const nested = (depth: number): string => (depth === 0 ? "x" : loop(1_000, nested(depth - 1)));
  test.each<[string, string]>([
    ["loops within loops", nested(5)],
    ["a range of 10^8", "{{ range(100000000) | length }}"],
    ["strings that double", `{% set ns = namespace(s='ab') %}${loop(100, "{% set ns.s = ns.s ~ ns.s %}")}{{ ns.s }}`],
    ["lists that double", `{% set ns = namespace(s=[1]) %}${loop(100, "{% set ns.s = ns.s + ns.s %}")}`],
    ["a macro that calls itself", "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}"],
    [
      "two macros that call each other",
      "{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
    ["itself of many megabytes", "{{ 1 }}".repeat(400_000)],
    ["brackets without an end", `{{ ${"(".repeat(100_000)}1${")".repeat(100_000)} }}`],
  ])("with %s ends in seconds, and the next one works", async (_, template) => {
    expect(["input", "unsupported"]).toContain((await refusal(() => chatOf(template), SECONDS)).kind);
    expect(process.memoryUsage().rss).toBeLessThan(1.5e9);
    expect(chatOf(usual)).toBe("<user>hello<assistant>");
  });
});
