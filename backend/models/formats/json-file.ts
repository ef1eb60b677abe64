import { type ByteSource, corrupt, openBytes } from "./bytes.ts";
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

/**
 * Reads a JSON object that describes a checkpoint, such as config.json.
 * @throws HeadscopeError "missing" without the file, "corrupt" when it is no JSON object, names a key twice or nests too deep
 */
export async function readJsonObject(path: string): Promise<Record<string, unknown>> {
  const source = await openBytes(path);
  try {
    const text = await textOf(source);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw corrupt(path, `it is not JSON (${(cause as Error).message.slice(0, 120)})`, cause);
    }
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
