import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Checkpoint } from "../../../../backend/models/formats/checkpoint.ts";
import { tokenizerOf } from "../../../../backend/models/tokenizers/files/files.ts";

/** By test/oracles/tokenizer_settings.py: what AutoTokenizer makes of a folder's files. */
interface Oracle {
  readonly texts: readonly string[];
  readonly cases: readonly {
    readonly modelType: string;
    /** tokenizer.json, or vocab.json with merges.txt. */
    readonly kind: "json" | "vocab";
    readonly files: Readonly<Record<string, object>>;
    /** Parts of tokenizer.json that differ from the base's. */
    readonly changes: object;
    readonly bos: number | null;
    readonly eos: number | null;
    readonly size: number;
    readonly class: string;
    /** For each text the ids with what stands around it, and without. */
    readonly rows: readonly [number[], number[]][];
  }[];
}

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const oracle: Oracle = read("../../../oracles/tokenizer_settings.json");
const base = read("../../../fixtures/tokenizers/gpt2.json").tokenizer;
const { vocab, merges } = base.model as { vocab: Record<string, number>; merges: string[][] };

async function tokenizerIn(files: Readonly<Record<string, object | string>>) {
  const folder = await mkdtemp(join(tmpdir(), "headscope-tokenizer-"));
  try {
    for (const [name, value] of Object.entries(files))
      await writeFile(join(folder, name), typeof value === "string" ? value : JSON.stringify(value));
    const checkpoint = { format: "safetensors", path: join(folder, "model.safetensors"), metadata: {} };
    return await tokenizerOf(checkpoint as unknown as Checkpoint);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Texts whose ids depend on default tokens that the vocabulary lacks; transformers makes ids for them beyond the model's. */
const inVocabulary = (token: string) => Object.hasOwn(vocab, token);

describe("a folder's tokenizer is that of transformers' AutoTokenizer", () => {
  test.each(
    oracle.cases.map((row, at) => [`${at}: ${row.modelType} ${JSON.stringify(row.files).slice(0, 150)}`, row] as const),
  )("%s", async (_, { modelType, kind, files, changes, rows, bos, eos, size }) => {
    const own: Record<string, object | string> =
      kind === "json"
        ? { "tokenizer.json": { ...base, ...changes } }
        : { "vocab.json": vocab, "merges.txt": `#version: 0.2\n${merges.map((pair) => pair.join(" ")).join("\n")}\n` };
    const { tokenizer, tokenizerFault } = await tokenizerIn({
      "config.json": { model_type: modelType },
      ...own,
      ...files,
    });
    expect(tokenizerFault).toBeUndefined();
    expect(oracle.texts.map((text) => tokenizer!.encode(text))).toEqual(rows.map(([whole]) => whole));
    expect(oracle.texts.map((text) => tokenizer!.encode(text, { prependBos: false }))).toEqual(
      rows.map(([, bare]) => bare),
    );
    expect([tokenizer!.bos ?? null, tokenizer!.eos ?? null]).toEqual([bos, eos]);
    const added = ["<|padding|>"].filter(
      (token) => modelType === "gpt_neox" && !inVocabulary(token) && kind === "json",
    );
    expect(tokenizer!.size + added.length).toBe(size);
  });

  test("a token that tokenizer_config.json alone names is one id, and decodes to its text", async () => {
    const added = {
      content: "<|turn|>",
      special: true,
      lstrip: false,
      rstrip: false,
      normalized: false,
      single_word: false,
    };
    const config = { eos_token: "<|turn|>", added_tokens_decoder: { 999: added } };
    const { tokenizer } = await tokenizerIn({ "tokenizer.json": base, "tokenizer_config.json": config });
    const ids = tokenizer!.encode("a<|turn|>");
    expect(ids).toHaveLength(2);
    expect(ids[1]).toBe(tokenizer!.eos);
    expect([tokenizer!.decode(ids), tokenizer!.decode(ids, { skipSpecial: true })]).toEqual(["a<|turn|>", "a"]);
  });
});

describe("a tokenizer that cannot be used fails alone and keeps its reason", () => {
  const json = (change: object) => ({ "tokenizer.json": { ...base, ...change } });
  const model = (change: object) => json({ model: { ...base.model, ...change } });
  test.each([
    ["cut off", { "tokenizer.json": '{"model": ' }, /not JSON/],
    [
      "a pointer of git-lfs",
      { "tokenizer.json": "version https://git-lfs.github.com/spec/v1\noid sha256:0\n" },
      /git-lfs/,
    ],
    ["an empty config", { "tokenizer.json": base, "tokenizer_config.json": "" }, /tokenizer_config.json/],
    ["a config that is no object", { "tokenizer.json": base, "tokenizer_config.json": "[1]" }, /tokenizer_config.json/],
    ["an unknown step", json({ pre_tokenizer: { type: "UnicodeScripts" } }), /pre_tokenizer.*"UnicodeScripts"/],
    ["an unknown setting", json({ normalizer: { type: "NFC", fast: true } }), /normalizer.*NFC.*"fast"/],
    [
      "an unknown value",
      json({ pre_tokenizer: { type: "Punctuation", behavior: "Doubled" } }),
      /Punctuation.*behavior "Doubled"/,
    ],
    [
      "a pattern that has no translation",
      json({ normalizer: { type: "Replace", pattern: { Regex: "(a)\\1" }, content: "" } }),
      /\\\\1/,
    ],
    ["dropout", model({ dropout: 0.1 }), /BPE.*dropout 0.1/],
    ["a merge that joins nothing", model({ merges: [...merges, ["xx", "yy"]] }), /merge.*xx/],
    ["an id that is none", model({ vocab: { ...vocab, x: -1 } }), /id -1/],
    ["an id of any size", model({ vocab: { ...vocab, x: 2 ** 31 } }), /id 2147483648/],
    ["no model", json({ model: null }), /model/],
    ["steps without end", json({ normalizer: nested(900) }), /nests/],
    ["steps in steps in steps", json({ normalizer: nested(9) }), /nested/],
    [
      "a post-processor without the text",
      json({ post_processor: { type: "TemplateProcessing", single: [], pair: [], special_tokens: {} } }),
      /post_processor/,
    ],
    ["added tokens of another type", json({ added_tokens: [{ content: 5 }] }), /token/],
    ["a vocabulary alone", { "vocab.json": vocab }, /merges.txt/],
    [
      "a class whose cut nobody knows",
      { "config.json": { model_type: "llama" }, "vocab.json": vocab, "merges.txt": "" },
      /how texts are cut/,
    ],
    ["no SentencePiece model", { "tokenizer.model": "x\n" }, /SentencePiece/],
  ] as [string, Record<string, object | string>, RegExp][])("%s", async (_, files, reason) => {
    const { tokenizer, tokenizerFault } = await tokenizerIn(files);
    expect(tokenizer).toBeUndefined();
    expect(tokenizerFault).toMatch(reason);
  });

  test("a folder without one has no fault", async () => {
    expect(await tokenizerIn({ "config.json": {} })).toEqual({ tokenizer: undefined, tokenizerFault: undefined });
  });

  test("a byte order mark is none of a file's text", async () => {
    const config = `\ufeff${JSON.stringify({ bos_token: "<|endoftext|>" })}`;
    const { tokenizer } = await tokenizerIn({
      "tokenizer.json": `\ufeff${JSON.stringify(base)}`,
      "tokenizer_config.json": config,
    });
    expect(tokenizer!.bos).toBe(0);
  });
});

/** Normalizers within one another. */
function nested(depth: number): object {
  let step: object = { type: "NFC" };
  for (let level = 0; level < depth; level++) step = { type: "Sequence", normalizers: [step] };
  return step;
}
