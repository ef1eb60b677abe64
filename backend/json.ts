import { readFile } from "node:fs/promises";
import { HeadscopeError } from "./common/errors.ts";
import { readRegular } from "./files.ts";

const TOKENS = {
  space: /[ \t\n\r]*/y,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: JSON strings hold none, that is the point
  string: /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y,
  number: /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.+-])/y,
  word: /(?:true|false|null)\b/y,
};

function match(token: keyof typeof TOKENS, text: string, at: number): number | undefined {
  const pattern = TOKENS[token];
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

/**
 * Finds where a text stops being JSON; undefined when it is JSON.
 * JSON.parse is the judge of every file and only some of its messages say where, so this is asked after it has refused.
 * @returns offset in UTF-16 units; the text's length when it ends too early
 */
export function jsonErrorOffset(text: string): number | undefined {
  const open: ("[" | "{")[] = [];
  let at = match("space", text, 0)!;
  let expect: "value" | "first" | "key" | "end" = "value"; // first: a value, key or the closing bracket
  const skip = (end: number) => match("space", text, end)!;

  for (;;) {
    const inside = open.at(-1);
    const closes = text[at] === (inside === "{" ? "}" : "]") && inside !== undefined;
    if ((expect === "first" || expect === "end") && closes) {
      open.pop();
      at = skip(at + 1);
      expect = "end";
    } else if (expect === "end") {
      if (inside === undefined) return at === text.length ? undefined : at;
      if (text[at] !== ",") return at;
      at = skip(at + 1);
      expect = inside === "{" ? "key" : "value";
    } else if (expect === "key" || (expect === "first" && inside === "{")) {
      const end = match("string", text, at);
      if (end === undefined) return at;
      at = skip(end);
      if (text[at] !== ":") return at;
      at = skip(at + 1);
      expect = "value";
    } else if (text[at] === "[" || text[at] === "{") {
      open.push(text[at] as "[" | "{");
      at = skip(at + 1);
      expect = "first";
    } else {
      const end = match("string", text, at) ?? match("number", text, at) ?? match("word", text, at);
      if (end === undefined) return at;
      at = skip(end);
      expect = "end";
    }
  }
}

/**
 * Parses JSON that a person or another program wrote.
 * @param label what the text is, usually its path; the error starts with it
 * @throws HeadscopeError `input` with line, column and the text found there
 */
export function parseJson(text: string, label: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const at = jsonErrorOffset(text) ?? text.length;
    const before = text.slice(0, at).split("\n");
    const place = `line ${before.length}, column ${before.at(-1)!.length + 1}`;
    const excerpt = text.slice(at, at + 20).split("\n", 1)[0]!;
    const what = at >= text.length ? "the text ends too early" : `found ${JSON.stringify(excerpt)}`;
    const remedy = /^-?(NaN|Infinity)/.test(excerpt)
      ? "JSON has no NaN or infinity: give finite numbers"
      : "mend the file or write it again";
    throw new HeadscopeError("input", `${label} is not JSON at ${place} (character ${at}): ${what}`, {
      remedy,
      cause,
      subject: label,
    });
  }
}

/** Names of this process's own open files: a pipe that a shell was told to hand over, which no file can pretend to be. */
const HANDED_OVER = /^\/dev\/(?:stdin|fd\/\d+)$/;

/**
 * Reads a text file whose absence is the user's to mend; a byte order mark at its beginning is none of its text.
 * @param what what the file is, such as "scores file"
 * @throws HeadscopeError `missing` when there is no such file, `input` when it cannot be read or is no plain file
 */
export async function readText(path: string, what: string): Promise<string> {
  const text = HANDED_OVER.test(path)
    ? await readFile(path, "utf8")
    : (await readRegular(path, { what })).toString("utf8");
  return text.replace(/^\ufeff/, "");
}

/** Reads a JSON file; errors are those of `readText` and `parseJson`. */
export async function readJson(path: string, what: string): Promise<unknown> {
  return parseJson(await readText(path, what), path);
}

/** An unexpected JSON value in a word or two. */
export function describeJson(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "nothing";
  return "an object";
}

/** JSON laid out for people: two spaces a level, and every list of plain values (a table's row) on one line. */
export function formatJson(value: unknown, indent = ""): string {
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every((item) => item === null || typeof item !== "object"))
      return `[${value.map((item) => formatJson(item)).join(", ")}]`;
    return `[\n${value.map((item) => inner + formatJson(item, inner)).join(",\n")}\n${indent}]`;
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  if (entries.length === 0) return "{}";
  const lines = entries.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${formatJson(item, inner)}`);
  return `{\n${lines.join(",\n")}\n${indent}}`;
}
