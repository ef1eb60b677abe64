import { type ByteSource, corrupt, openBytes } from "./bytes.ts";
import { DEEPEST_JSON, jsonFault } from "./json-keys.ts";

/** Longest JSON file beside a checkpoint in bytes: an index of a million tensors has some hundred million. */
const LONGEST_JSON = 2 ** 27;

/** How much a JSON file may hold. */
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

/**
 * Reads a JSON object that describes a checkpoint, such as config.json.
 * @param limits default 128 MiB and a depth of 64
 * @throws HeadscopeError "missing" without the file, "corrupt" when it is no JSON object, names a key twice or nests too deep
 */
export async function readJsonObject(
  path: string,
  limits: JsonLimits = { bytes: LONGEST_JSON, depth: DEEPEST_JSON },
): Promise<Record<string, unknown>> {
  const source = await openBytes(path);
  try {
    const text = await textOf(source, limits.bytes);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw corrupt(path, `it is not JSON (${(cause as Error).message.slice(0, 120)})`, cause);
    }
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
 * @throws HeadscopeError "missing" without the file, "corrupt" when it is longer or no UTF-8
 */
export async function readModelText(path: string, bytes: number): Promise<string> {
  const source = await openBytes(path);
  try {
    return await textOf(source, bytes);
  } finally {
    await source.close();
  }
}
