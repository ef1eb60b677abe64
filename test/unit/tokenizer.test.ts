import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../backend/models/formats/checkpoint.ts";
import type { Tokenizer } from "../../backend/models/formats/tokenizer.ts";
import { tokenizerFromGguf } from "../../backend/models/formats/tokenizer-gguf.ts";
import { tokenizerFromJson } from "../../backend/models/formats/tokenizer-json.ts";
import { cacheDir } from "../../backend/paths.ts";
import { failure, fixture } from "./formats-files.ts";

interface Row {
  text: string;
  ids: number[];
  decoded: string;
  withoutSpecial: string;
}
interface Oracle {
  messages: { role: string; content: string }[];
  tiny: { rows: Row[]; chat: string[] };
  smollm2: { rows: Row[]; chat: string[] };
}
const oracle: Oracle = JSON.parse(await readFile(new URL("../oracles/tokenizer.json", import.meta.url), "utf8"));

async function metadataOf(path: string) {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  return checkpoint.metadata;
}
const json = async (name: string) => JSON.parse(await readFile(fixture(`llama-tiny/${name}`), "utf8"));
const metadata = await metadataOf(fixture("llama-tiny.gguf"));

function agrees(tokenizer: Tokenizer, { rows, chat }: { rows: Row[]; chat: string[] }) {
  for (const { text, ids, decoded, withoutSpecial } of rows) {
    expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(decoded);
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.decode(ids, { skipSpecial: true })).toBe(withoutSpecial);
  }
  expect(tokenizer.chat(oracle.messages)).toBe(chat[0]);
  expect(tokenizer.chat(oracle.messages, { addGenerationPrompt: true })).toBe(chat[1]);
}

describe("tokenizer", () => {
  it("from GGUF gives transformers's ids, texts and chats", () => {
    agrees(tokenizerFromGguf(metadata), oracle.tiny);
  });

  it("from tokenizer.json gives the same", async () => {
    const tokenizer = tokenizerFromJson(await json("tokenizer.json"), await json("tokenizer_config.json"));
    agrees(tokenizer, oracle.tiny);
    expect([tokenizer.bos, tokenizer.eos, tokenizer.addsBos, tokenizer.size]).toEqual([1, 2, false, 400]);
  });

  const pulled = join(cacheDir(), "models", "smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf");
  const real = process.env["HEADSCOPE_SMOLLM2"] ?? pulled;
  it.skipIf(!existsSync(real))("SmolLM2's gives transformers's ids, texts and chats", async () => {
    const tokenizer = tokenizerFromGguf(await metadataOf(real));
    agrees(tokenizer, oracle.smollm2);
    expect(tokenizer.encode("The capital of France is")).toEqual([504, 3575, 282, 4649, 314]);
    expect([tokenizer.bos, tokenizer.eos, tokenizer.addsBos, tokenizer.size]).toEqual([1, 2, false, 49152]);
    expect(tokenizer.token(4649)).toBe(" France");
  });

  it("puts BOS before a text when the settings say so, or the caller", async () => {
    const plain = tokenizerFromGguf(metadata);
    const [text, ids] = ["The capital", oracle.tiny.rows[0]!.ids.slice(0, 4)];
    const adding = tokenizerFromGguf({ ...metadata, "tokenizer.ggml.add_bos_token": true });
    expect(plain.encode(text).slice(0, 4)).toEqual(ids);
    expect(plain.encode(text, { prependBos: true }).slice(0, 5)).toEqual([1, ...ids]);
    expect(adding.addsBos).toBe(true);
    expect(adding.encode(text).slice(0, 5)).toEqual([1, ...ids]);
    expect(adding.encode(text, { prependBos: false }).slice(0, 4)).toEqual(ids);
    const fromJson = tokenizerFromJson(await json("tokenizer.json"), {
      ...(await json("tokenizer_config.json")),
      add_bos_token: true,
    });
    expect(fromJson.encode(text).slice(0, 5)).toEqual([1, ...ids]);
  });

  it("refuses BOS without one and a chat without a template", async () => {
    const { "tokenizer.ggml.bos_token_id": _, "tokenizer.chat_template": __, ...less } = metadata;
    const tokenizer = tokenizerFromGguf(less);
    expect((await failure(() => tokenizer.encode("x", { prependBos: true }))).kind).toBe("usage");
    expect((await failure(() => tokenizer.chat(oracle.messages))).kind).toBe("unsupported");
  });

  it("has no text, and a number for a label, for an id that it lacks: a model's vocabulary may be padded", () => {
    const tokenizer = tokenizerFromGguf(metadata);
    const ids = tokenizer.encode("the fox");
    expect(tokenizer.decode([...ids, 400, 151_935])).toBe(tokenizer.decode(ids));
    expect(tokenizer.decode([400])).toBe("");
    expect(tokenizer.token(400)).toBe("[400]");
    expect(tokenizer.token(ids[0]!)).toBe(tokenizer.decode([ids[0]!]));
  });

  it("bytes that are no UTF-8 decode to replacement characters", () => {
    const tokenizer = tokenizerFromGguf(metadata);
    const ids = tokenizer.encode("𐍈");
    expect(tokenizer.decode(ids.slice(0, 1))).toMatch(/^\ufffd+$/);
  });

  it("refuses a tokenizer that it can't follow or that is damaged", async () => {
    const broken = (change: Record<string, unknown>) => failure(() => tokenizerFromGguf({ ...metadata, ...change }));
    const tokens = metadata["tokenizer.ggml.tokens"] as string[];
    expect((await broken({ "tokenizer.ggml.model": "t5" })).line).toMatch(/of kind "t5"; "gpt2"/);
    expect((await broken({ "tokenizer.ggml.pre": "viking" })).message).toMatch(
      /cuts texts as "viking"; .*gpt-2, .*smollm, .* are known/,
    );
    expect((await broken({ "tokenizer.ggml.tokens": 5 })).kind).toBe("corrupt");
    expect((await broken({ "tokenizer.ggml.tokens": [...tokens, "a"] })).message).toMatch(/are the same token "a"/);
    expect((await broken({ "tokenizer.ggml.merges": ["xyzzy q"] })).message).toMatch(/merge "xyzzy q"/);
    expect((await broken({ "tokenizer.ggml.token_type": new Int32Array(3) })).message).toMatch(/3 entries for 400/);
    expect((await broken({ "tokenizer.ggml.eos_token_id": 400 })).message).toMatch(/eos_token_id is 400/);
    expect((await failure(() => tokenizerFromJson({ model: { type: "Nonsense" } }, {}))).kind).toBe("unsupported");
  });
});
