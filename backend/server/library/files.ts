import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { isInside, leadsInside } from "../../files.ts";
import { isPlainPath } from "../../setup/names.mjs";
import { notFound, Refusal } from "../http/problems.ts";

/**
 * The path of a file that an id names below a folder: a plain path of names that do not begin with a dot.
 * @returns undefined for anything else
 */
export function pathOfId(folder: string, id: string): string | undefined {
  return isPlainPath(id) && !/(^|\/)\./.test(id) ? join(folder, id) : undefined;
}

/**
 * The path of an existing file or folder below one of some folders, also after links are followed.
 * @param name absolute, or from the first folder
 * @throws Refusal 403 for one that lies elsewhere, 404 for one that is not there, or is a pipe or device
 */
export async function existingInside(folders: readonly string[], name: string): Promise<string> {
  const path = resolve(folders[0]!, name);
  if (name.includes("\0") || !folders.some((folder) => isInside(folder, path))) throw outside(name, folders);
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) throw notFound(`there is no ${name}`, "check the path");
  const inside = await Promise.all(folders.map((folder) => leadsInside(folder, path)));
  if (!inside.includes(true)) throw outside(name, folders);
  if (!stats.isFile() && !stats.isDirectory())
    throw notFound(`${name} is neither a file nor a folder`, "check the path");
  return path;
}

/**
 * As `existingInside`, of a plain file that can be sent.
 * @throws Refusal as it does; 404 for a folder, a pipe or a device
 */
export async function existingFile(folders: readonly string[], name: string): Promise<string> {
  const path = await existingInside(folders, name);
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isFile() !== true) throw notFound(`there is no file ${name}`, "check the path");
  return path;
}

function outside(name: string, folders: readonly string[]): Refusal {
  return new Refusal(403, "forbidden", `${name} is not inside ${folders.join(" or ")}`, {
    remedy: "add its folder on Home (Browse folders), or give it to headscope serve --root",
  });
}
