import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import type { TokenizerSettings } from "../../../../backend/models/tokenizers/files/json.ts";
import { tokenizerFromSentencePiece } from "../../../../backend/models/tokenizers/files/sentence-piece.ts";
import { fixture } from "../../../helpers/fixtures.ts";

const unzipped = (name: string) =>
  JSON.parse(gunzipSync(readFileSync(fixture(`tokenizers/${name}.json.gz`))).toString());

/** By test/oracles/tokenizer_sentence_piece.py: models, and digests of sentencepiece's ids for each hundred texts. */
const oracle: { chunk: number; cases: { name: string; model: string; ids: string[] }[] } = unzipped("sentence-piece");
/** Names of control tokens become their ids, unlike in sentencepiece. */
const texts = (unzipped("steps").texts as string[]).filter((text) => !/<s>|<\/s>|<unk>|<pad>|\0/.test(text));

async function tokenizer(model: Uint8Array, settings: TokenizerSettings = {}) {
  const folder = await mkdtemp(join(tmpdir(), "headscope-spm-"));
  try {
    await writeFile(join(folder, "tokenizer.model"), model);
    return await tokenizerFromSentencePiece(join(folder, "tokenizer.model"), settings);
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe("tokenizer.model", () => {
  test.each(oracle.cases.map((model) => [model.name, model] as const))(
    "%s gives sentencepiece's ids on hostile texts",
    async (_, { model, ids }) => {
      const { encode } = await tokenizer(Buffer.from(model, "base64"));
      const rows = texts.map((text) => encode(text));
      const digests = ids.map((__, chunk) => {
        const part = rows.slice(chunk * oracle.chunk, (chunk + 1) * oracle.chunk);
        return createHash("sha256").update(JSON.stringify(part)).digest("hex").slice(0, 12);
      });
      expect(digests).toEqual(ids);
    },
  );

  test("control tokens have their names from the model, and BOS stands in front where the config asks for it", async () => {
    const model = Buffer.from(oracle.cases[0]!.model, "base64");
    const plain = await tokenizer(model);
    expect([plain.bos, plain.eos, plain.front, plain.behind]).toEqual([1, 2, [], []]);
    expect(plain.encode("a<s>b", { prependBos: false })).toContain(1);
    const adding = await tokenizer(model, { config: { add_bos_token: true, add_eos_token: true } });
    expect(adding.encode("a")).toEqual([1, ...plain.encode("a"), 2]);
    expect(plain.decode(plain.encode("the fox  é"))).toBe("the fox  é");
  });

  test("what is no SentencePiece model is corrupt, whole or cut off", async () => {
    const model = Buffer.from(oracle.cases[0]!.model, "base64");
    const corrupt = expect.objectContaining({ kind: "corrupt" });
    for (const bytes of [
      Buffer.from("x\n"),
      Buffer.alloc(0),
      Buffer.from("version https://git-lfs"),
      model.subarray(0, 999),
    ])
      await expect(tokenizer(bytes), `${bytes.length} bytes`).rejects.toEqual(corrupt);
  });
});
