import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openCheckpoint } from "../../../../backend/models/formats/open.ts";
import { tokenizerFromGguf } from "../../../../backend/models/tokenizers/files/gguf.ts";
import { tokenizerFromJson } from "../../../../backend/models/tokenizers/files/json.ts";
import type { Tokenizer } from "../../../../backend/models/tokenizers/tokenizer.ts";
import { cacheDir } from "../../../../backend/paths.ts";
import { failure } from "../../../helpers/errors.ts";
import { fixture } from "../../../helpers/fixtures.ts";

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
const oracle: Oracle = JSON.parse(await readFile(new URL("../../../oracles/tokenizer.json", import.meta.url), "utf8"));

async function metadataOf(path: string) {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  return checkpoint.metadata;
}
const json = async (name: string) => JSON.parse(await readFile(fixture(`formats/llama-tiny/${name}`), "utf8"));
const metadata = await metadataOf(fixture("formats/llama-tiny.gguf"));

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
    // transformers 5 does not ask for the flag beside a tokenizer.json, whose post-processor says it.
    const asked = { ...(await json("tokenizer_config.json")), add_bos_token: true };
    expect(
      tokenizerFromJson(await json("tokenizer.json"), asked)
        .encode(text)
        .slice(0, 4),
    ).toEqual(ids);
    const ending = tokenizerFromGguf({ ...metadata, "tokenizer.ggml.add_eos_token": true });
    expect(ending.behind).toEqual([2]);
    expect(ending.encode(text).at(-1)).toBe(2);
    expect(ending.encode(text, { prependBos: false })).not.toContain(2);
  });

  it("an id beyond the vocabulary has no text, and its label is the id", async () => {
    for (const tokenizer of [tokenizerFromGguf(metadata), tokenizerFromJson(await json("tokenizer.json"), {})]) {
      const ids = tokenizer.encode("The capital");
      expect(tokenizer.decode([...ids, 400, 151_935])).toBe("The capital");
      expect(tokenizer.token(400)).toBe("[400]");
      expect(tokenizer.token(2 ** 40)).toBe(`[${2 ** 40}]`);
      expect(tokenizer.decode([400])).toBe("");
    }
  });

  it("refuses BOS without one, what is no id, and a chat without a template", async () => {
    const { "tokenizer.ggml.bos_token_id": _, "tokenizer.chat_template": __, ...less } = metadata;
    const tokenizer = tokenizerFromGguf(less);
    expect((await failure(() => tokenizer.encode("x", { prependBos: true }))).kind).toBe("usage");
    for (const id of [1.5, -1, Number.NaN]) {
      expect((await failure(() => tokenizer.decode([1, id]))).kind).toBe("input");
      expect((await failure(() => tokenizer.token(id))).kind).toBe("input");
    }
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

  it("of two tokens with one text the later counts, and a special id outside the vocabulary is left out, with a note", () => {
    const tokens = [...(metadata["tokenizer.ggml.tokens"] as string[])];
    const first = tokens.indexOf("z");
    tokens[399] = "z";
    const odd = tokenizerFromGguf({
      ...metadata,
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.merges": [],
      "tokenizer.ggml.bos_token_id": 4294967295,
      "tokenizer.ggml.eos_token_id": 400,
    });
    expect(odd.encode("z", { prependBos: false })).toEqual([399]);
    expect([odd.decode([first]), odd.decode([399])]).toEqual(["z", "z"]);
    expect([odd.bos, odd.eos]).toEqual([undefined, undefined]);
    expect(odd.notes).toHaveLength(3);
    expect(odd.notes.join("\n")).toMatch(new RegExp(`ids ${first} and 399`));
    expect(odd.notes.join("\n")).toMatch(/4294967295/);
  });

  it("refuses a tokenizer that it can't follow or that is damaged", async () => {
    const broken = (change: Record<string, unknown>) => failure(() => tokenizerFromGguf({ ...metadata, ...change }));
    expect((await broken({ "tokenizer.ggml.model": "t5" })).line).toMatch(/of kind "t5"; "gpt2"/);
    expect((await broken({ "tokenizer.ggml.pre": "viking" })).message).toMatch(
      /cuts texts as "viking"; .*gpt-2, .*smollm, .* are known/,
    );
    expect((await broken({ "tokenizer.ggml.tokens": 5 })).kind).toBe("corrupt");
    expect((await broken({ "tokenizer.ggml.merges": ["xyzzy q"] })).message).toMatch(/merge "xyzzy q"/);
    expect((await broken({ "tokenizer.ggml.token_type": new Int32Array(3) })).message).toMatch(/3 entries for 400/);
    expect((await failure(() => tokenizerFromJson({ model: { type: "Nonsense" } }, {}))).kind).toBe("unsupported");
  });
});
