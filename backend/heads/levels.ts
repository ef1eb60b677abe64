import type { z } from "zod";
import packageJson from "../../package.json" with { type: "json" };
import { cacheLevelsSchema, LEVELS_FORMAT } from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import { parseDocument } from "../common/heads/document.ts";
import type { HeadModel } from "../common/heads/model.ts";
import { formatJson, readJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";

const REMEDY = "make it with headscope levels find --model MODEL --out FILE";

/** A checked file of the levels that keys and values are rounded to: `layers` by layer, then keys or values, then bits. */
export type CacheLevels = z.output<typeof cacheLevelsSchema>;

/** Makes a complete document of levels, with the time and headscope's version. @throws HeadscopeError `input` for another shape */
export function createLevels(
  model: HeadModel,
  layers: CacheLevels["layers"],
  params: CacheLevels["params"],
): CacheLevels {
  const writer = { created: new Date().toISOString(), headscope: packageJson.version };
  return parseLevels({ format: LEVELS_FORMAT, model, params, ...writer, layers }, "levels");
}

/**
 * Checks a document of levels: its tag, its fields, and one entry a layer.
 * @param label where it comes from, usually a path; errors start with it
 * @throws HeadscopeError `input` naming the field
 */
export function parseLevels(value: unknown, label: string): CacheLevels {
  const levels = parseDocument(cacheLevelsSchema, value, { format: LEVELS_FORMAT, label, remedy: REMEDY });
  const { length } = levels.layers;
  if (length === levels.model.layers) return levels;
  throw new HeadscopeError("input", `${label}: levels of ${length} layers, of a model of ${levels.model.layers}`, {
    remedy: REMEDY,
    field: "layers",
  });
}

/** Reads and checks a file of levels. @throws HeadscopeError `missing` or `input`, starting with the path */
export async function readLevels(path: string): Promise<CacheLevels> {
  return parseLevels(await readJson(path, "level file"), path);
}

/** Checks and writes a file of levels, whole or not at all. */
export async function writeLevels(path: string, levels: CacheLevels): Promise<void> {
  await writeFileAtomic(path, `${formatJson(parseLevels(levels, path))}\n`);
}
