import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import { TextStream } from "../../../backend/inference/text-stream.ts";
import { tokenizerFromJson } from "../../../backend/models/tokenizers/files/json.ts";
import type { Tokenizer } from "../../../backend/models/tokenizers/tokenizer.ts";
import { fixture } from "../../helpers/fixtures.ts";

interface Family {
  readonly tokenizer: Record<string, unknown> & { readonly model: Record<string, unknown> };
  readonly config: Record<string, unknown>;
  readonly rows: readonly { readonly ids: number[] }[];
}

const FAMILIES = ["gpt2", "gpt-neox", "llama3", "qwen2", "tekken", "llama2", "mistral", "gemma", "unigram"];
const family = (name: string): Family => JSON.parse(readFileSync(fixture(`tokenizers/${name}.json`), "utf8"));
const tokenizerOf = ({ tokenizer, config }: Family, decoder = tokenizer["decoder"]): Tokenizer =>
  tokenizerFromJson({ ...tokenizer, decoder }, config);

/** Texts, then tokens drawn from the whole vocabulary and from its bytes: half characters, special tokens, unknown ids. */
function sequences({ rows }: Family, { size, spelling }: Tokenizer): number[][] {
  const random = new Random(1);
  const bytes = Array.from({ length: size }, (_, id) => id).filter((id) => (spelling(id) ?? "").length <= 6);
  const drawn = (from: (draw: number) => number): number[] => Array.from({ length: 400 }, () => from(random.uniform()));
  const texts = rows.flatMap(({ ids }) => ids);
  return [
    texts.slice(0, 900),
    drawn((u) => Math.floor(u * (size + 3))),
    drawn((u) => bytes[Math.floor(u * bytes.length)]!),
  ];
}

describe("a text that grows token by token", () => {
  it.each(FAMILIES)("is at every length the text of all tokens so far (%s)", (name) => {
    const given = family(name);
    const tokenizer = tokenizerOf(given);
    for (const ids of sequences(given, tokenizer)) {
      const stream = new TextStream(tokenizer);
      ids.forEach((id, i) => {
        stream.push(id);
        const whole = tokenizer.decode(ids.slice(0, i + 1));
        if (stream.text !== whole) expect(stream.text, `${i + 1} tokens`).toBe(whole);
      });
    }
  });

  it("is so too where a last token's text is another", () => {
    const given = family("llama2");
    const tokenizer = tokenizerOf(given, { type: "BPEDecoder", suffix: "a" });
    const ids = given.rows.flatMap((row) => row.ids).slice(0, 300);
    const stream = new TextStream(tokenizer);
    ids.forEach((id, i) => {
      stream.push(id);
      expect(stream.text).toBe(tokenizer.decode(ids.slice(0, i + 1)));
    });
  });

  it("decodes few tokens for each, however long it is", () => {
    const given = family("llama3");
    const tokenizer = tokenizerOf(given);
    let decoded = 0;
    const counting: Tokenizer = {
      ...tokenizer,
      grows: tokenizer.grows,
      decode(ids) {
        decoded += ids.length;
        return tokenizer.decode(ids);
      },
    };
    const stream = new TextStream(counting);
    const ids = given.rows.flatMap((row) => row.ids);
    for (let i = 0; i < 2000; i++) stream.push(ids[i % 50]!);
    expect(decoded / 2000).toBeLessThan(120);
  });
});
