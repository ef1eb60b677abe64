import { type ByteSource, corrupt, openBytes } from "./bytes.ts";
import { foreignFile, SIGNATURE_BYTES } from "./foreign.ts";
import { jsonFault } from "./json-keys.ts";

/** Longest JSON file beside a checkpoint in bytes: an index of a million tensors has some hundred million. */
const LONGEST_JSON = 2 ** 27;

async function textOf(source: ByteSource): Promise<string> {
  const { path, size } = source;
  if (size > LONGEST_JSON) throw corrupt(path, `it has ${size} bytes; ${LONGEST_JSON} are the most that are read`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, size));
  } catch (cause) {
    if (cause instanceof TypeError) throw corrupt(path, "it is not UTF-8", cause);
    throw cause;
  }
}

/** Python's json writes numbers that JSON does not have as these words. */
const WORDS: Readonly<Record<string, number>> = { NaN: Number.NaN, Infinity: Infinity, "-Infinity": -Infinity };
const STRING_OR_WORD = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;
/** Stands for such a word in a text that JSON.parse takes; no file of a model holds this character. */
const MARK = "\u0000";

/** Parses JSON, with NaN and Infinity as Python writes them. @returns the value, and a text of the same keys that is JSON */
function parsed(path: string, text: string): { value: unknown; text: string } {
  try {
    return { value: JSON.parse(text), text };
  } catch (cause) {
    const foreign = foreignFile(path, Buffer.from(text.slice(0, SIGNATURE_BYTES), "latin1"));
    if (foreign) throw foreign;
    const marked = text.replace(STRING_OR_WORD, (found) => (found in WORDS ? JSON.stringify(MARK + found) : found));
    const number = (_: string, value: unknown) =>
      typeof value === "string" && value.startsWith(MARK) ? (WORDS[value.slice(1)] ?? value) : value;
    try {
      if (marked !== text) return { value: JSON.parse(marked, number), text: marked };
    } catch {
      // The words were not what is wrong with it.
    }
    throw corrupt(path, `it is not JSON (${(cause as Error).message.slice(0, 120)})`, cause);
  }
}

/**
 * Reads a JSON object that describes a checkpoint, such as config.json.
 * @throws HeadscopeError "missing" without the file, "unsupported" for a git-lfs pointer or a web page in its place, "corrupt" when it is no JSON object, names a key twice or nests too deep
 */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  const source = await openBytes(path);
  try {
    const { value, text } = parsed(path, await textOf(source));
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw corrupt(path, "it is no JSON object");
    }
    const fault = jsonFault(text);
    if (fault !== undefined) throw corrupt(path, fault);
    return value as Record<string, unknown>;
  } finally {
    await source.close();
  }
}
