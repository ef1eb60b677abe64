import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Checkpoint } from "../../../../backend/models/formats/checkpoint.ts";
import { tokenizerOf } from "../../../../backend/models/tokenizers/files/files.ts";
import { tokenizerFromGguf } from "../../../../backend/models/tokenizers/files/gguf.ts";
import { tokenizerFromJson } from "../../../../backend/models/tokenizers/files/json.ts";
import type { Tokenizer } from "../../../../backend/models/tokenizers/tokenizer.ts";
import { fixture } from "../../../helpers/fixtures.ts";

interface Row {
  readonly text: string;
  readonly ids: number[];
  readonly decoded: string;
  readonly withoutSpecial?: string;
}

/** By test/oracles/tokenizer_families.py. */
interface Oracle {
  readonly tokenizer: { readonly model: Record<string, unknown>; readonly [part: string]: unknown };
  readonly config: Record<string, unknown>;
  readonly gguf: Record<string, unknown>;
  readonly bos: boolean;
  readonly rows: readonly Row[];
  readonly spm: readonly Row[];
}

const BYTE_LEVEL = ["gpt2", "gpt-neox", "llama3", "qwen2", "tekken"];
const SENTENCE_PIECE = ["llama2", "mistral", "gemma"];
const FAMILIES = [...BYTE_LEVEL, ...SENTENCE_PIECE, "unigram"];

const oracle = (name: string): Oracle => JSON.parse(readFileSync(fixture(`tokenizers/${name}.json`), "utf8"));

/** As the GGUF reader gives it: lists of numbers are typed arrays. */
function metadataOf({ gguf }: Oracle): Record<string, unknown> {
  const types = Int32Array.from(gguf["tokenizer.ggml.token_type"] as number[]);
  const scores = gguf["tokenizer.ggml.scores"] as number[] | undefined;
  const numbers = scores ? { "tokenizer.ggml.scores": Float32Array.from(scores) } : {};
  return { ...gguf, "tokenizer.ggml.token_type": types, ...numbers };
}

const fromJson = ({ tokenizer, config }: Oracle) => tokenizerFromJson(tokenizer, config);

function agrees(tokenizer: Tokenizer, rows: readonly Row[]) {
  expect(rows.length).toBeGreaterThan(25);
  for (const { text, ids, decoded, withoutSpecial } of rows) {
    expect(tokenizer.encode(text, { prependBos: false }), JSON.stringify(text)).toEqual(ids);
    expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
    if (withoutSpecial !== undefined) expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(withoutSpecial);
  }
}

describe("tokenizer.json", () => {
  test.each(FAMILIES)("%s gives the ids and texts of Python's tokenizers", (name) => {
    const given = oracle(name);
    const tokenizer = fromJson(given);
    agrees(tokenizer, given.rows);
    expect(tokenizer.addsBos).toBe(given.bos);
  });

  test("a cut that merges with its neighbour is done", () => {
    const { tokenizer, config } = oracle("gpt2");
    const cut = (step: object) => ({ type: "Sequence", pretokenizers: [step, tokenizer["pre_tokenizer"]] });
    const split = (behavior: string) => ({ type: "Split", pattern: { String: "a" }, behavior, invert: false });
    const pieces = (behavior: string) =>
      tokenizerFromJson({ ...tokenizer, pre_tokenizer: cut(split(behavior)) }, config).encode("banana an");
    expect(pieces("MergedWithPrevious")).not.toEqual(pieces("MergedWithNext"));
  });
});

describe("GGUF", () => {
  test.each(BYTE_LEVEL)("%s gives the ids and texts of Python's tokenizers", (name) => {
    const given = oracle(name);
    const tokenizer = tokenizerFromGguf(metadataOf(given));
    agrees(tokenizer, given.rows);
    expect(tokenizer.addsBos).toBe(given.bos);
  });

  test.each(SENTENCE_PIECE)("%s gives the ids and texts of sentencepiece", (name) => {
    const given = oracle(name);
    const tokenizer = tokenizerFromGguf(metadataOf(given));
    agrees(tokenizer, given.spm);
    expect(tokenizer.addsBos).toBe(true);
    expect(tokenizer.encode("a")).toEqual([tokenizer.bos, ...tokenizer.encode("a", { prependBos: false })]);
  });

  test("special tokens written out become their own ids, also between words", () => {
    const given = oracle("llama2");
    const special = given.rows.filter(({ text }) => text.includes("<s>"));
    expect(special).toHaveLength(2);
    const tokenizer = tokenizerFromGguf(metadataOf(given));
    for (const { text, ids } of special) expect(tokenizer.encode(text, { prependBos: false })).toEqual(ids);
  });

  test("a damaged one is refused, by what is wrong with it", () => {
    const given = metadataOf(oracle("llama2"));
    const broken = (change: object) => () => tokenizerFromGguf({ ...given, ...change });
    const corrupt = (pattern: RegExp) =>
      expect.objectContaining({ kind: "corrupt", message: expect.stringMatching(pattern) });
    expect(broken({ "tokenizer.ggml.scores": undefined })).toThrow(corrupt(/scores is missing/));
    expect(broken({ "tokenizer.ggml.scores": new Float32Array(3) })).toThrow(corrupt(/3 entries for/));
    expect(tokenizerFromGguf({ ...given, "tokenizer.ggml.unknown_token_id": 1e6 }).notes).toHaveLength(1);
    expect(broken({ "tokenizer.ggml.model": "t5" })).toThrow(expect.objectContaining({ kind: "unsupported" }));
  });
});

describe("round trips", () => {
  /** What normalises its text can't give it back. */
  const exact = FAMILIES.filter((name) => !["gpt-neox", "qwen2", "unigram"].includes(name));
  test.each(exact)("%s gives every text back", (name) => {
    const given = oracle(name);
    const [json, gguf] = [fromJson(given), tokenizerFromGguf(metadataOf(given))];
    for (const { text } of given.rows.filter((row) => !/<s>|<unk>|<\||^$/.test(row.text))) {
      // A Metaspace that puts a space before a text only where it has none can't tell the two apart.
      const back = name === "mistral" ? text.replace(/^ /, "") : text;
      expect(json.decode(json.encode(text, { prependBos: false }))).toBe(back);
      expect(gguf.decode(gguf.encode(text, { prependBos: false }))).toBe(text);
    }
  });

  test.each(["llama2", "mistral", "unigram"])("%s keeps a token's space where the token stands alone", (name) => {
    const tokenizer = fromJson(oracle(name));
    const ids = tokenizer.encode("the capital of France", { prependBos: false });
    expect(ids.map((id) => tokenizer.token(id)).join("")).toBe(" the capital of France");
  });
});

test("a folder's special tokens and chat template are read from every file that may hold them", async () => {
  const folder = await mkdtemp(join(tmpdir(), "headscope-tokenizer-"));
  const { tokenizer } = oracle("llama3");
  const write = (name: string, content: string) => writeFile(join(folder, name), content);
  await mkdir(folder, { recursive: true });
  await write("tokenizer.json", JSON.stringify(tokenizer));
  await write(
    "special_tokens_map.json",
    JSON.stringify({ bos_token: "<|begin_of_text|>", eos_token: { content: "<|eot_id|>" } }),
  );
  await write("tokenizer_config.json", JSON.stringify({ eos_token: "<|end_of_text|>", chat_template: "old" }));
  await write(
    "chat_template.jinja",
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}",
  );
  const checkpoint = {
    format: "safetensors",
    path: join(folder, "model.safetensors"),
    metadata: {},
  } as unknown as Checkpoint;
  const found = (await tokenizerOf(checkpoint)).tokenizer!;
  const id = (token: string) => found.encode(token, { prependBos: false })[0];
  // As in transformers 5, where a config without added_tokens_decoder is an older one, and the map counts.
  expect([found.bos, found.eos, found.addsBos]).toEqual([id("<|begin_of_text|>"), id("<|eot_id|>"), true]);
  expect(found.chat([{ role: "user", content: " Hi 😀 " }])).toBe("<|begin_of_text|>[user] Hi 😀\n");
  await rm(folder, { recursive: true });
});
