import { type ByteSource, corrupt, openBytes } from "./bytes.ts";
import { foreignFile, SIGNATURE_BYTES } from "./foreign.ts";

/** Deepest nesting that is read; JSON.parse takes more than writing it into an error can. */
const DEEPEST_JSON = 64;

/**
 * Names what makes a JSON text untrustworthy, or undefined: nesting that no description of a model has, or a key that stands
 * twice in one object. JSON.parse keeps the last silently, and two programs that disagree on which one counts would read
 * different tensors from one file.
 * @param text valid JSON (JSON.parse accepted it)
 * @param depth objects and lists that may stand inside each other
 */
export function jsonFault(text: string, depth = DEEPEST_JSON): string | undefined {
  const open: (Set<string> | undefined)[] = []; // one for each open object; undefined for an array
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{" || character === "[") {
      open.push(character === "{" ? new Set() : undefined);
      if (open.length > depth) return `it nests deeper than ${depth}`;
    }
    if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const start = at;
      for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
      let next = at + 1;
      while (text.charCodeAt(next) <= 32) next++;
      if (text[next] !== ":") continue;
      const keys = open.at(-1);
      const key = JSON.parse(text.slice(start, at + 1)) as string;
      if (keys?.has(key)) return `it names "${key.slice(0, 80)}" twice`;
      keys?.add(key);
    }
  }
  return undefined;
}

/** Longest JSON file beside a checkpoint in bytes: an index of a million tensors has some hundred million. */
const LONGEST_JSON = 2 ** 27;

/** Limits of a JSON file. */
export interface JsonLimits {
  /** Longest file in bytes. */
  readonly bytes: number;
  /** Objects and lists that may stand inside each other. */
  readonly depth: number;
}

async function textOf(source: ByteSource, longest: number): Promise<string> {
  const { path, size } = source;
  if (size > longest) throw corrupt(path, `it has ${size} bytes; ${longest} are the most that are read`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, size));
  } catch (cause) {
    if (cause instanceof TypeError) throw corrupt(path, "it is not UTF-8", cause);
    throw cause;
  }
}

/** @throws HeadscopeError "unsupported" for what stands in the file's place */
function refuseForeignText(path: string, text: string): void {
  const foreign = foreignFile(path, Buffer.from(text.slice(0, SIGNATURE_BYTES), "latin1"));
  if (foreign) throw foreign;
}

/** Python's json writes numbers that JSON does not have as these words. */
const WORDS: Readonly<Record<string, number>> = { NaN: Number.NaN, Infinity: Infinity, "-Infinity": -Infinity };
const WORD = /-?Infinity|NaN/y;
/** Stands for such a word in a text that JSON.parse takes; no file of a model holds this character. */
const MARK = "\u0000";

/** The text with marked strings in the place of such words; one step a character, whatever the text is. */
function marked(text: string): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '"') {
      for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === "\\") at++;
      continue;
    }
    WORD.lastIndex = at;
    const word = "-IN".includes(text[at]!) ? WORD.exec(text)?.[0] : undefined;
    if (word === undefined) continue;
    parts.push(text.slice(from, at), JSON.stringify(MARK + word));
    from = at + word.length;
    at = from - 1;
  }
  return parts.join("") + text.slice(from);
}

/** Parses JSON, with NaN and Infinity as Python writes them. @returns the value, and a text of the same keys that is JSON */
function parsed(path: string, text: string): { value: unknown; text: string } {
  try {
    return { value: JSON.parse(text), text };
  } catch (cause) {
    refuseForeignText(path, text);
    const number = (_: string, value: unknown) =>
      typeof value === "string" && value.startsWith(MARK) ? (WORDS[value.slice(1)] ?? value) : value;
    try {
      const plain = marked(text);
      if (plain !== text) return { value: JSON.parse(plain, number), text: plain };
    } catch {
      // The words were not what is wrong with it.
    }
    throw corrupt(path, `it is not JSON (${(cause as Error).message.slice(0, 120)})`, cause);
  }
}

/**
 * Reads a JSON object that describes a checkpoint, such as config.json.
 * @param limits default 128 MiB and a depth of 64
 * @throws HeadscopeError "missing" without the file, "unsupported" for a git-lfs pointer or a web page in its place, "corrupt"
 *   when it is no JSON object, names a key twice or nests too deep
 */
export async function readJsonObject(
  path: string,
  limits: JsonLimits = { bytes: LONGEST_JSON, depth: DEEPEST_JSON },
): Promise<Record<string, unknown>> {
  const source = await openBytes(path);
  try {
    const { value, text } = parsed(path, await textOf(source, limits.bytes));
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw corrupt(path, "it is no JSON object");
    }
    const fault = jsonFault(text, limits.depth);
    if (fault !== undefined) throw corrupt(path, fault);
    return value as Record<string, unknown>;
  } finally {
    await source.close();
  }
}

/**
 * Reads a text file of a model's folder, such as chat_template.jinja.
 * @param bytes longest that it may be
 * @throws HeadscopeError "missing" without the file, "unsupported" for a git-lfs pointer or a web page in its place, "corrupt"
 *   when it is longer or no UTF-8
 */
export async function readModelText(path: string, bytes: number): Promise<string> {
  const source = await openBytes(path);
  try {
    const text = await textOf(source, bytes);
    refuseForeignText(path, text);
    return text;
  } finally {
    await source.close();
  }
}
