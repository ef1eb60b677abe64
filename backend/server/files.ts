import { realpath, stat } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import { notFound, Refusal } from "./problems.ts";

/** Whether a path is a folder or lies below it; both absolute. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

/**
 * The path of a file that an id names below a folder: plain names with slashes between them, none of which begins with a dot.
 * @returns undefined for anything else
 */
export function pathOfId(folder: string, id: string): string | undefined {
  const names = id.split("/");
  const plain = names.every((name) => /^[^./\\\0][^/\\\0]*$/.test(name));
  return plain ? join(folder, ...names) : undefined;
}

/**
 * The path of an existing file below one of some folders, also after links are followed.
 * @param given absolute, or from the first folder
 * @throws Refusal 403 for one that lies elsewhere, 404 for one that is not there
 */
export async function existingInside(folders: readonly string[], given: string): Promise<string> {
  const path = resolve(folders[0]!, given);
  if (given.includes("\0") || !folders.some((folder) => isInside(folder, path))) throw outside(given, folders);
  const [real, ...roots] = await Promise.all([path, ...folders].map((each) => realpath(each).catch(() => undefined)));
  if (real === undefined) throw notFound(`there is no ${given}`, "check the path");
  if (!roots.some((root) => root !== undefined && isInside(root, real))) throw outside(given, folders);
  return path;
}

/**
 * As `existingInside`, of a plain file that can be sent.
 * @throws Refusal as it does; 404 for a folder, a pipe or a device
 */
export async function fileInside(folders: readonly string[], given: string): Promise<string> {
  const path = await existingInside(folders, given);
  const stats = await stat(path).catch(() => undefined);
  if (stats?.isFile() !== true) throw notFound(`there is no file ${given}`, "check the path");
  return path;
}

function outside(given: string, folders: readonly string[]): Refusal {
  return new Refusal(403, "forbidden", `${given} is not inside ${folders.join(" or ")}`, {
    remedy: "move it there, or give its folder to headscope serve --root",
  });
}
