// What others have written (tokens, tensors, files, hubs) reaches a terminal as text, never as a command to it.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bold, dim } from "../../backend/cli/format.ts";
import { createProgress } from "../../backend/cli/progress.ts";
import { formatJson } from "../../backend/json.ts";
import { Exit, printable, printableJson } from "../../backend/setup/terminal.mjs";
import { buildCli, headscope, ROOT } from "../helpers/cli.ts";

/** What a terminal acts on: written out, since the code's own expression is what is tested. */
const BAD = [
  ...Array.from({ length: 32 }, (_, code) => code).filter((code) => code !== 9 && code !== 10),
  ...Array.from({ length: 33 }, (_, i) => 0x7f + i),
  ...[0x061c, 0x200e, 0x200f, 0x2028, 0x2029],
  ...[0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069],
].map((code) => String.fromCharCode(code));
const holdsBad = (text: string) => BAD.filter((character) => text.includes(character));

const CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07";
const HOSTILE = `${CLIPBOARD}\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\u2066\x7f\rover`;

/** An exit whose stream keeps what is written. */
function keeping({ isTTY = false } = {}): { exit: Exit; text: () => string } {
  let text = "";
  const stream = {
    isTTY,
    columns: 120,
    write(part: string, done?: () => void) {
      text += part;
      done?.();
      return true;
    },
    on: () => stream,
    once: () => stream,
    removeListener: () => stream,
  };
  return { exit: new Exit(stream as unknown as NodeJS.WriteStream), text: () => text };
}

describe("a text for people", () => {
  test.each(BAD.map((character) => [character.charCodeAt(0).toString(16), character]))(
    "shows U+%s and does not do it",
    (code, character) => {
      const shown = printable(`a${character}b`);
      expect(holdsBad(shown)).toEqual([]);
      expect(shown).toMatch(new RegExp(`^a\\\\[xu]0*${code}b$`));
    },
  );

  test("shows halves of characters, and leaves whole ones alone", () => {
    expect(printable("\ud83d")).toBe("\\ud83d");
    expect(printable("x\ude00y")).toBe("x\\ude00y");
    const plain = "😀 é 中文 שלום مرحبا ▁Ġ\n\tnext";
    expect(printable(plain)).toBe(plain);
  });

  test("keeps headscope's own bold and dim, which content cannot write", async () => {
    const { exit, text } = keeping({ isTTY: true });
    await exit.line(`${bold("head", true)} ${dim(HOSTILE, true)}`);
    const own = ["\x1b[1m", "\x1b[22m", "\x1b[2m", "\x1b[22m"];
    const parts = own.reduce((rest, sequence) => rest.replace(sequence, "|"), text()).split("|");
    expect(parts).toEqual(["", "head", " ", printable(HOSTILE), "\n"]);
    expect(holdsBad(`${parts}${bold("", true)}`)).toEqual([]);
  });

  test("is also what a progress bar shows", async () => {
    for (const isTTY of [true, false]) {
      const { exit, text } = keeping({ isTTY });
      const progress = await createProgress(exit);
      progress(1, 2, `${CLIPBOARD}label`, `${CLIPBOARD}note`);
      progress.say(HOSTILE);
      progress.end();
      expect(text()).not.toContain("\x1b]");
      expect(text()).not.toContain("\u202e");
      expect(text()).toContain("\\x1b]52");
    }
  });
});

test("a JSON document has the same value and no control character", () => {
  const document = { [HOSTILE]: [HOSTILE, BAD.join(""), "\ud83d", "😀\n"], n: 1 };
  const json = printableJson(formatJson(document));
  expect(holdsBad(json)).toEqual([]);
  expect(JSON.parse(json)).toEqual(document);
});

describe("the command line", () => {
  let folder = "";
  beforeAll(async () => {
    await buildCli();
    folder = mkdtempSync(join(tmpdir(), "headscope-terminal-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const run = (...args: string[]) => headscope(args, { env: { HEADSCOPE_HOME: folder } });

  test.each([
    ["a command", [HOSTILE]],
    ["an option", ["models", `--${HOSTILE}`]],
    ["a model's name", ["models", "info", HOSTILE]],
    ["a path", ["ablate", "--model", `./${HOSTILE}.gguf`, "--heads", "0.0"]],
    ["a probe", ["probe", HOSTILE, "--model", "toy-induction"]],
    ["verbose errors", ["models", "info", HOSTILE, "--verbose"]],
  ])("is not commanded by the name of %s", async (_, args) => {
    const { code, stdout, stderr } = await run(...args);
    expect(code).not.toBe(0);
    expect(holdsBad(stdout + stderr)).toEqual([]);
    expect(stderr).toContain("\\x1b]52");
  });

  test("is not commanded by what a file holds", async () => {
    const home = join(folder, "model");
    mkdirSync(home);
    writeFileSync(join(home, "config.json"), JSON.stringify({ model_type: HOSTILE, architectures: [HOSTILE] }));
    const name = JSON.stringify({ [HOSTILE]: { dtype: "F32", shape: [1], data_offsets: [0, 4] } });
    const header = Buffer.from(name.padEnd(Math.ceil(name.length / 8) * 8));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(join(home, "model.safetensors"), Buffer.concat([length, header, Buffer.alloc(4)]));
    for (const args of [
      ["models", "check", home],
      ["models", "check", home, "--json"],
      ["models", "info", home],
    ]) {
      const { stdout, stderr } = await run(...args);
      expect(holdsBad(stdout + stderr)).toEqual([]);
    }
  });
});

describe("the source", () => {
  /** Files that may write by themselves, and why. */
  const FREE: Readonly<Record<string, string>> = {
    "backend/setup/terminal.mjs": "it is the exit",
    "backend/cli/bin.mjs": "it says one fixed line before there is an exit",
    "backend/setup/verify-native.cjs": "what it says is read by the set-up",
    "backend/models/formats/chat-template.ts": "what its process says is read by it",
  };
  const WRITES =
    /\bconsole\s*[.[]|\bprocess\s*(?:\?\.|\.|\[\s*["'])\s*(?:stdout|stderr)\b|\b(?:writeSync|writeFileSync|appendFileSync)\(\s*[12]\s*,|\bstd(?:out|err)\b[^=\n]*\}\s*=\s*process\b|\/dev\/(?:stdout|stderr|tty)/;

  test("writes to a terminal at one place", () => {
    const rooms = ["backend", "probes", "experiments", "synthetic-tasks"];
    const files = rooms
      .flatMap((room) =>
        readdirSync(join(ROOT, room), { recursive: true, encoding: "utf8" }).map((name) => join(room, name)),
      )
      .filter((name) => /\.([cm]?ts|[cm]js)$/.test(name) && !Object.hasOwn(FREE, name));
    const code = (text: string) => text.replaceAll(/\/\*[\s\S]*?\*\/|(?<![:"'`])\/\/.*$/gm, "");
    const writing = files.filter((name) => WRITES.test(code(readFileSync(join(ROOT, name), "utf8"))));
    expect(files.length).toBeGreaterThan(200);
    expect(writing.map((name) => relative("", name))).toEqual([]);
  });
});
