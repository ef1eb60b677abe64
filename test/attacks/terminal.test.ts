// What others have written (tokens, tensors, files, hubs) reaches a terminal as text, never as a command to it.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProgress } from "../../backend/cli/progress.ts";
import { bold, dim } from "../../backend/cli/text/format.ts";
import { formatJson } from "../../backend/json.ts";
import { Exit, printable, printableJson } from "../../backend/setup/terminal.mjs";
import { buildCli, ROOT } from "../helpers/cli.ts";
import { ggufHeader } from "../helpers/formats/gguf-bytes.ts";
import { headscope } from "../helpers/headscope.ts";

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

  /** A file of tensors whose only one, of layer 0, has a hostile name. */
  function hostileTensor(bytes = 4): Buffer {
    const name = JSON.stringify({
      [`model.layers.0.${HOSTILE}`]: { dtype: "F32", shape: [1], data_offsets: [0, bytes] },
    });
    const header = Buffer.from(name.padEnd(8 * Math.ceil(Buffer.byteLength(name) / 8)));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    return Buffer.concat([length, header, Buffer.alloc(4)]);
  }
  const llama = {
    ...{
      model_type: "llama",
      architectures: ["LlamaForCausalLM"],
      hidden_size: 8,
      num_hidden_layers: 1,
      vocab_size: 8,
    },
    ...{ num_attention_heads: 2, intermediate_size: 8, max_position_embeddings: 8, rms_norm_eps: 1e-5 },
  };
  const folderOf = (files: Readonly<Record<string, string | Buffer>>): string => {
    const home = mkdtempSync(join(folder, "model-"));
    for (const [name, content] of Object.entries(files)) writeFileSync(join(home, name), content);
    return home;
  };

  test.each<[string, () => string]>([
    ["an architecture", () => folderOf({ "config.json": JSON.stringify({ ...llama, model_type: HOSTILE, architectures: [HOSTILE] }), "model.safetensors": hostileTensor() })],
    ["an activation", () => folderOf({ "config.json": JSON.stringify({ ...llama, hidden_act: HOSTILE }), "model.safetensors": hostileTensor() })],
    ["a tensor", () => folderOf({ "config.json": JSON.stringify(llama), "model.safetensors": hostileTensor(8) })],
    ["an architecture in a GGUF file", () => join(folderOf({ "a.gguf": ggufHeader({ "general.architecture": HOSTILE }) }), "a.gguf")],
  ])("is not commanded by the name of %s in a model's files", async (_, path) => {
    const { code, stdout, stderr } = await run("models", "info", path());
    expect(code).toBe(1);
    expect(holdsBad(stdout + stderr)).toEqual([]);
    expect(stderr).toMatch(/\\x1b\]|\\u001b\]/);
  }); // biome-ignore format: a table

  test("is not commanded by the name of a file in the hub's cache", async () => {
    const commit = "c".repeat(40);
    const snapshot = join(folder, "hub", "models--a--b", "snapshots", commit);
    mkdirSync(snapshot, { recursive: true });
    for (const name of ["1.gguf", "2.gguf"]) writeFileSync(join(snapshot, HOSTILE + name), "GGUF");
    for (const args of [
      ["models", "list"],
      ["models", "list", "--json"],
    ]) {
      const env = { HEADSCOPE_HOME: folder, HF_HUB_CACHE: join(folder, "hub") };
      const { stdout, stderr } = await headscope(args, { env });
      expect(holdsBad(stdout + stderr)).toEqual([]);
      expect(stdout).toMatch(/\\x1b\]|\\u001b\]/);
    }
  });
});

describe("the source", () => {
  /** Files that may write by themselves, and why. */
  const FREE: Readonly<Record<string, string>> = {
    "backend/setup/terminal.mjs": "it is the exit",
    "backend/cli/bin.mjs": "it says one fixed line before there is an exit",
    "backend/setup/native/verify-native.cjs": "what it says is read by the set-up",
    "backend/setup/native/verify-kernels.cjs": "what it says is read by the set-up",
    "backend/models/tokenizers/chat/program.ts": "what its process says is read by its parent",
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
