import { createHash } from "node:crypto";
import { writablePath } from "../files.ts";
import { formatJson } from "../json.ts";
import { dataDir, writeFileAtomic } from "../paths.ts";

/** Eight hexadecimal digits that tell results apart: the same work gives the same name and replaces the older result. */
export function shortHash(what: unknown): string {
  return createHash("sha256").update(JSON.stringify(what)).digest("hex").slice(0, 8);
}

/** Writes a document into the data folder, whole or not at all. @param id path below it, with slashes @returns `id` */
export async function writeResult(id: string, document: unknown): Promise<string> {
  await writeFileAtomic(await writablePath(dataDir(), id), `${formatJson(document)}\n`);
  return id;
}
