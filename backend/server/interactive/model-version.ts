import { statSync } from "node:fs";
import { join } from "node:path";
import { cachedCommit, snapshotFolder } from "../../models/sources/hub/cache.ts";
import { modelFile } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { namesIn, runFolder } from "../../paths.ts";

/**
 * The version of the files of a model: a text that changes when one of them is written anew. Nothing of them is read.
 * @param ref catalogue name, run:ID or run:ID@STEP, hf:ORG/NAME, or a path
 * @param folder data folder
 */
export function filesVersion(ref: string, folder: string): string {
  try {
    return stamps(pathOf(ref, folder));
  } catch {
    return ""; // there is none: whoever opens it says so
  }
}

function pathOf(ref: string, folder: string): string {
  const reference = parseReference(ref, "slashed");
  switch (reference.kind) {
    case "catalogue":
      return modelFile(reference.name) ?? ref;
    case "run":
      return runFolder(reference.id, folder);
    case "hub":
      return snapshotFolder(reference.hub.repo, cachedCommit(reference.hub) ?? "");
    case "path":
      return ref;
  }
}

/** Time and size of a file, or of everything in a folder. */
function stamps(path: string): string {
  const stat = statSync(path);
  if (!stat.isDirectory()) return `${stat.mtimeMs} ${stat.size}`;
  const files = namesIn(path).map((name) => {
    const { mtimeMs, size } = statSync(join(path, name));
    return `${name} ${mtimeMs} ${size}`;
  });
  return files.sort().join("\n");
}
