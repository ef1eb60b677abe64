import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { expandNames } from "../../../backend/cli/commands/forward.run.ts";
import { readCases, readInterventions, readPairFile } from "../../../backend/cli/inputs/case-files.ts";
import { readTokens, tokensOf } from "../../../backend/cli/inputs/tokens.ts";
import { tokenOptions } from "../../../backend/cli/options.ts";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import type { Model } from "../../../backend/models/model.ts";
import type { Tokenizer } from "../../../backend/models/tokenizers/tokenizer.ts";
import { hookNames } from "../../../backend/models/transformer/hook-points.ts";
import { retrievalCase } from "../../../probes/retrieval-cases.ts";
import { refused } from "../../helpers/errors.ts";
import { smallConfig } from "../../helpers/models.ts";

const config = smallConfig({ d_vocab: 96, n_ctx: 12 });
/** A tokenizer of one token a letter: a is 1, b is 2, and BOS 90. */
const tokenizer = {
  bos: 90,
  addsBos: false,
  encode: (text: string, { prependBos = false } = {}) => [
    ...(prependBos ? [90] : []),
    ...[...text].map((letter) => letter.charCodeAt(0) - 96),
  ],
} as Tokenizer;
const model = { ref: "small", config, tokenizer } as Model;
const mute = { ref: "mute", config, tokenizer: undefined } as Model;

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "headscope-inputs-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function file(content: unknown, name = "input.json"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

/** The line of the error that a promise is rejected with. */
async function lineOf(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HeadscopeError);
  const { line } = error as HeadscopeError;
  expect(line).not.toContain("\n");
  return line;
}

describe("tokens files", () => {
  const read = async (content: unknown, rules = {}) => readTokens(await file(content), { config, ...rules });

  test("are arrays of rows of ids, of any length where rows may differ", async () => {
    expect(await read([[1, 2, 3], [95]])).toEqual([[1, 2, 3], [95]]);
  });

  test.each([
    ["text that is not JSON", "[[1, 2", /input\.json is not JSON at line 1/],
    ["no array", { rows: [] }, /input\.json is not an array of rows; .*\[\[1, 2, 3\]\]/],
    ["no row", [], /holds no row/],
    ["a row without outer brackets", [1, 2], /one row without its outer brackets/],
    ["a row that is no array", [[1], "two"], /row 1 is "two", not an array of token ids/],
    ["an empty row", [[1], []], /row 1 has 0 tokens; give at least one/],
    ["a number with a fraction", [[1, 2.5]], /row 0, position 1: 2.5 is not a token id/],
    [
      "an id outside the vocabulary",
      [[1], [4, 96]],
      /row 1, position 1: id 96 is outside the vocabulary; ids are 0 to 95/,
    ],
    ["a negative id", [[-1]], /row 0, position 0: id -1 is outside/],
    ["more tokens than the context", [Array(13).fill(1)], /row 0 has 13 tokens, more than the model's context of 12/],
  ])("%s is refused", async (_, content, message) => {
    expect(await lineOf(read(content))).toMatch(message);
  });

  test("rows of different lengths are refused where rows go together", async () => {
    const line = await lineOf(
      read(
        [
          [1, 2],
          [1, 2, 3],
        ],
        { equalRows: "probe induction" },
      ),
    );
    expect(line).toMatch(/row 1 has 3 tokens and row 0 has 2; probe induction needs rows of one length/);
  });

  test("a file that is not there is named", async () => {
    expect(await lineOf(readTokens(join(folder, "absent.json"), { config }))).toMatch(/no tokens file .*absent\.json/);
  });
});

describe("texts", () => {
  test("begin with BOS only if asked, or if the tokenizer does so", async () => {
    expect(await tokensOf(model, { text: "ab" })).toEqual([[1, 2]]);
    expect(await tokensOf(model, { text: "ab", prependBos: true })).toEqual([[90, 1, 2]]);
  });

  test("need a tokenizer", async () => {
    expect(await lineOf(tokensOf(mute, { text: "ab" }))).toMatch(/mute has no tokenizer.*--tokens-file/);
  });

  test("stand for a tokens file, not beside it", async () => {
    expect(await lineOf(tokensOf(model, { text: "a", tokensFile: "x" }))).toMatch(/--text and --tokens-file/);
    expect(await lineOf(tokensOf(model, {}))).toMatch(/no tokens are given/);
  });
});

describe("pair files", () => {
  const read = async (content: unknown) => readPairFile(await file(content), model);

  test("hold one pair or several, of ids or texts", async () => {
    const pair = { clean: [1, 2], corrupt: [1, 3], answer: 4, wrong: 5 };
    expect(await read(pair)).toEqual([pair]);
    expect(await read([{ clean: "ab", corrupt: "ac", answer: "d", wrong: "e" }])).toEqual([pair]);
  });

  test.each([
    [
      "sides of different lengths",
      { clean: "abc", corrupt: "ab", answer: 1, wrong: 2 },
      /the clean prompt has 3 tokens and the corrupt one 2/,
    ],
    ["a side that is missing", { clean: "abc", answer: 1, wrong: 2 }, /corrupt: it is missing/],
    ["no wrong answer", { clean: "a", corrupt: "b", answer: 1 }, /wrong: it is missing/],
    ["an answer of two tokens", { clean: "a", corrupt: "b", answer: "cd", wrong: 2 }, /answer "cd" is 2 tokens/],
    ["an answer outside the vocabulary", { clean: "a", corrupt: "b", answer: 1, wrong: 96 }, /wrong: id 96 is outside/],
    [
      "a field that pairs do not have",
      { clean: "a", corrupt: "b", answer: 1, wrong: 2, position: 1 },
      /unknown field "position"/,
    ],
    ["two equal prompts", { clean: "ab", corrupt: "ab", answer: 1, wrong: 2 }, /two prompts are the same/],
    ["two equal answers", { clean: "a", corrupt: "b", answer: 2, wrong: 2 }, /the same token/],
    ["something else", ["ab"], /pair 0 is "ab"; a pair is/],
  ])("%s is refused", async (_, content, message) => {
    expect(await lineOf(read(content))).toMatch(message);
  });
});

describe("files of interventions", () => {
  const read = async (content: unknown) => readInterventions(await file(content));
  const zero = { at: "blocks.0.attn.hook_z", do: "zero" };

  test("hold several or one", async () => {
    expect(await read([zero, { ...zero, heads: [1], positions: [0] }])).toHaveLength(2);
    expect(await read(zero)).toMatchObject([zero]);
  });

  test.each([
    ["none", [], /holds no intervention/],
    ["a field that there is not", [zero, { ...zero, head: 1 }], /intervention 1.*"?head"?/],
    ["a kind that there is not", { ...zero, do: "ablate" }, /unknown intervention "ablate"/],
  ])("%s is refused with the file's name", async (_, content, message) => {
    const path = await file(content);
    const line = await lineOf(readInterventions(path));
    expect(line).toContain(path);
    expect(line).toMatch(message);
  });
});

describe("cases files", () => {
  const read = async (content: unknown) => readCases(await file(content), model, retrievalCase);
  const ok = { ids: [1, 2, 3, 4], needleSpan: [1, 3], maxNewTokens: 2, stopToken: 5 };

  test("hold prompts with the span of their needle", async () => {
    expect(await read([ok])).toEqual([ok]);
  });

  test.each([
    [
      "a span outside the ids",
      [{ ...ok, needleSpan: [2, 5] }],
      /case 0: needleSpan \[2,5\] is not a span of its 4 ids/,
    ],
    ["a span that is empty", [{ ...ok, needleSpan: [2, 2] }], /needleSpan \[2,2\]/],
    ["an answer that does not fit", [{ ...ok, maxNewTokens: 9 }], /4 ids and 9 new tokens exceed the context of 12/],
    ["no array", { ids: [] }, /not an array of cases/],
  ])("%s is refused", async (_, content, message) => {
    expect(await lineOf(read(content))).toMatch(message);
  });
});

describe("hook names", () => {
  const expand = (list: string) => expandNames(list, hookNames(config), config);

  test("a star stands for any text without a dot", () => {
    expect(expand("blocks.*.attn.hook_z,logits")).toEqual(
      [0, 1, 2].map((l) => `blocks.${l}.attn.hook_z`).concat("logits"),
    );
  });

  test("a name that stands for nothing is refused with the nearest", () => {
    expect(() => expand("blocks.0.attn.hook_zz")).toThrow(
      expect.objectContaining({ kind: "usage", subject: "blocks.0.attn.hook_zz" }),
    );
    expect(() => expand("blocks.7.attn.hook_z")).toThrow(refused("usage"));
    expect(() => expand("nothing.*")).toThrow(expect.objectContaining({ kind: "usage", subject: "nothing.*" }));
  });
});

describe("--text", () => {
  it.each([false, true])("that is empty is refused as the command line is read (several: %s)", (several) => {
    const command = tokenOptions(new Command(), { several });
    const read = (...texts: string[]) =>
      command
        .parse(
          texts.flatMap((text) => ["--text", text]),
          { from: "user" },
        )
        .opts();
    expect(() => read("")).toThrow(refused("usage", { message: "--text is empty" }));
    expect(read("a")["text"]).toEqual(several ? ["a"] : "a");
  });
});
