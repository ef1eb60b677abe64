import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { commandFolder, expectLine, ok } from "../../../helpers/cli.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { headscope } from "../../../helpers/headscope.ts";

const MODEL = ["--model", "toy-induction"];
/** BOS and twelve ids, then some of them again. */
const half = [17, 5, 99, 42, 3, 64, 28, 7, 110, 55, 81, 12];
const prompt = (again: number): number[] => [0, ...half, ...half.slice(0, again)];

interface Document {
  readonly ids: number[];
  readonly promptTokens: number;
  readonly cache: { readonly bytes: number; readonly kind?: string };
}

const { at, file } = commandFolder();
const generated = async (...args: string[]) => ok(await headscope(["generate", ...MODEL, ...args, "--json"]));

describe("generate of several rows", () => {
  test("prints a list, of each what it gives alone", async () => {
    const rows = [prompt(3), prompt(9), [0, 5]];
    const length = ["--max-tokens", "3"];
    const list = (await generated("--tokens-file", file("rows.json", rows), ...length)).json<Document[]>();
    for (const [r, row] of rows.entries()) {
      const alone = await generated("--tokens-file", file(`row-${r}.json`, [row]), ...length);
      const { ids, promptTokens, cache } = alone.json<Document>();
      expect(list[r]).toMatchObject({ ids, promptTokens, cache });
    }
    const shown = ok(await headscope(["generate", ...MODEL, "--tokens-file", at("rows.json"), ...length]));
    expect(shown.stdout.match(/^Prompt \d: .*$/gm)).toEqual(
      list.map(({ ids }, r) => `Prompt ${r + 1}: ${ids.join(" ")}`),
    );
  });

  test("can't keep several caches in one file", async () => {
    const rows = file("two.json", [[0, 1], [0, 2]]); // biome-ignore format: short rows
    const args = ["--tokens-file", rows, "--save-cache", at("none")];
    expectLine(await headscope(["generate", ...MODEL, ...args]), 2, /--save-cache keeps one prompt, and there are 2/);
  });
});

describe("generate --text-file", () => {
  const tiny = (...args: string[]) =>
    headscope(["generate", "--model", fixture("formats/llama-tiny"), "--max-tokens", "3", ...args]);
  const ids = async (...args: string[]) => ok(await tiny(...args, "--json")).json<Document>().ids;

  test("continues a file's text, line breaks and all, as the same text on the command line", async () => {
    const text = "The capital\nof a land";
    expect(await ids("--text-file", file("story.txt", text))).toEqual(await ids("--text", text));
    expect(await ids("--text-file", file("line.txt", `${text}\n`))).toEqual(await ids("--text", `${text}\n`));
    expect(await ids("--text", `${text}\n`)).not.toEqual(await ids("--text", text));
    const bare = ["--no-prepend-bos", "--without", "of a land"];
    expect(await ids("--text-file", at("story.txt"), ...bare)).toEqual(await ids("--text", text, ...bare));
  });

  test.each([
    ["--text", ["--text", "a"], 2, /--text-file and --text cannot go together/],
    ["--tokens-file", ["--tokens-file", "rows.json"], 2, /--text-file and --tokens-file cannot go together/],
  ])("stands in the place of %s, and not beside it", async (_, args, code, line) => {
    expectLine(await tiny("--text-file", file("a.txt", "a"), ...args), code, line);
  });

  test("is refused of a file that is not there or is empty", async () => {
    expectLine(await tiny("--text-file", at("absent.txt")), 1, /there is no text file .*absent\.txt/);
    expectLine(await tiny("--text-file", file("empty.txt", "")), 1, /empty\.txt is empty/);
  });
});

describe("generate --save-cache and --from-cache", () => {
  test("go on where the prompt ended, with the tokens that all of it would have", async () => {
    const saved = at("prefix.safetensors");
    const length = ["--max-tokens", "4"];
    const first = file("first.json", [prompt(2)]);
    const free = (await generated("--tokens-file", first, ...length)).json<Document>();
    const saving = (await generated("--tokens-file", first, ...length, "--save-cache", saved)).json<Document>();
    expect(saving.ids).toEqual(free.ids);
    expect((await generated("--from-cache", saved, ...length)).json<Document>()).toMatchObject({
      ids: free.ids,
      promptTokens: 15,
    });
    const rest = file("rest.json", [half.slice(2, 5), half.slice(2, 7)]);
    const behind = (await generated("--from-cache", saved, "--tokens-file", rest, ...length)).json<Document[]>();
    const whole = file("whole.json", [prompt(5), prompt(7)]);
    const read = (await generated("--tokens-file", whole, ...length)).json<Document[]>();
    expect(behind.map(({ ids, promptTokens }) => [ids, promptTokens])).toEqual(
      read.map(({ ids, promptTokens }) => [ids, promptTokens]),
    );
    expect((await readFile(saved)).toString("latin1")).toContain("headscope.kv-cache/1");
  });

  test("a file of another model is refused, and so is what is no cache", async () => {
    const saved = at("own.safetensors");
    await generated("--tokens-file", file("own.json", [prompt(2)]), "--max-tokens", "1", "--save-cache", saved);
    expectLine(
      await headscope(["generate", "--model", "toy-induction", "--process", "center_unembed", "--from-cache", saved]),
      1,
      /own\.safetensors is for toy-induction .*other weights/,
    );
    const other = file("text.txt", "once upon a time, far away");
    expectLine(await headscope(["generate", ...MODEL, "--from-cache", other]), 1, /text\.txt is corrupt: /);
    expectLine(await headscope(["generate", ...MODEL, "--from-cache", at("no")]), 1, /there is no file .*no; /);
  });

  test.each([
    ["--cache", "f64"],
    ["--activations", "4bit"],
  ])("%s %s is no kind", async (option, value) => {
    const args = ["--tokens-file", file("one.json", [[0]]), option, value];
    expectLine(
      await headscope(["generate", ...MODEL, ...args]),
      2,
      new RegExp(`${option} cannot be "${value}"; give one of`),
    );
  });
});
