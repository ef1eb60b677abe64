import { describe, expect, test } from "vitest";
import { commandFolder, expectLine, ok } from "../../../helpers/cli.ts";
import { headscope } from "../../../helpers/headscope.ts";
import { randomTokens } from "../../../helpers/models.ts";

interface Patterns {
  readonly params: Record<string, number>;
  readonly layers: { pattern: string; a: number; b: number; score: number }[][];
}
interface Document {
  readonly logits: number[];
  readonly prefill?: { read: number };
}

const MODEL = ["--model", "toy-induction"];
const { at, file } = commandFolder();
const row = (length: number) => file(`row-${length}.json`, randomTokens(1, length, 96));
const search = (...args: string[]) => headscope(["patterns", "search", ...MODEL, ...args, "--json"]);

describe("patterns search", () => {
  test("writes a shape for every query head, which minference runs a prompt with", async () => {
    const out = at("patterns.json");
    const share = ["--param", "share=0.25", "--param", "local=0"];
    const { params, layers } = ok(await search("--tokens-file", row(400), ...share, "--out", out)).json<Patterns>();
    expect(params).toMatchObject({ tokens: 400, share: 0.25, local: 0 });
    expect(new Set(layers.map((heads) => heads.length)).size).toBe(1);
    for (const { score } of layers.flat()) expect(score > 0 && score < 1.00001).toBe(true);
    const prompt = ["--tokens-file", row(400), "--max-tokens", "1", "--with-logits", "--json"];
    const run = async (...args: string[]) => ok(await headscope(["generate", ...MODEL, ...prompt, ...args])).json<Document>(); // biome-ignore format: one call
    const sparse = await run("--policy", "minference", "--param", `patterns=${out}`, "--param", "question=0");
    expect(sparse.prefill!.read).toBeLessThan(0.9);
    expect((await run()).prefill).toBeUndefined();
  });

  test("refuses samples that say nothing", async () => {
    const out = ["--out", at("none.json")];
    expectLine(await search(...out), 1, /toy-induction has no tokenizer.*--tokens-file/);
    expectLine(await search("--tokens-file", row(50), ...out), 1, /one square/);
    expectLine(await search("--tokens-file", row(50), "--text-file", row(50), ...out), 2, /cannot go together/);
    expectLine(await search("--tokens-file", row(400), "--param", "share=0", ...out), 2, /share/);
  });
});
