import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { filesBelow } from "../files.mjs";

/**
 * @typedef {object} Layer
 * @property {string} path a folder (ends in /) or a file, from the root; of several that fit, the longest counts
 * @property {readonly string[]} imports paths of the layers that its files may import, besides its own and `EVERYBODY`
 */

const FREE = ["backend/setup/"];
const CORE = [...FREE, "backend/runtime/", "backend/kernels/", "backend/models/", "backend/hooks/"];
const METHODS = ["backend/training/", "backend/circuits/", "backend/inference/"];
const SHARED = ["backend/heads/"];
const REGISTRIES = ["probes/", "synthetic-tasks/", "backend/exports/"];
const KEPT = ["backend/store/", "backend/reports/"];
const DOCTOR = ["backend/doctor.ts"];
const JOBS = [...CORE, ...METHODS, ...SHARED, ...REGISTRIES, "backend/store/", "backend/workers/handler.ts"];
const ALL = [
  ...[...CORE, ...METHODS, ...SHARED, ...REGISTRIES, ...KEPT],
  ...["backend/evaluation/", "backend/jobs/", "backend/jobs/kinds/train.ts", "experiments/", ...DOCTOR],
];
const KINDS = ["backend/jobs/kinds/", "backend/workers/handler.ts"];

/** Folder that every file of headscope may import, the front end too: small definitions that run anywhere. */
const COMMON = "backend/common/";

/** Folders of it that hold schemas: of these the front end imports the types alone, so that its first load is without zod. */
const SCHEMAS = ["backend/common/api/", "backend/common/definitions/"];

/** Files that every file of the back end may import; they stand on the set-up alone. */
const EVERYBODY = ["backend/files.ts", "backend/json.ts", "backend/paths.ts", "package.json"];

/** Who may import whom: imports go one way, from the last line to the first. @type {readonly Layer[]} */
export const LAYERS = [
  { path: "backend/setup/", imports: [] },
  { path: "backend/runtime/", imports: FREE },
  { path: "backend/kernels/", imports: [...FREE, "backend/runtime/"] },
  { path: "backend/models/", imports: [...FREE, "backend/runtime/", "backend/kernels/"] },
  { path: "backend/hooks/", imports: [...FREE, "backend/runtime/", "backend/kernels/", "backend/models/"] },
  { path: "backend/heads/", imports: CORE },
  { path: "backend/training/", imports: [...CORE, ...SHARED] },
  { path: "backend/circuits/", imports: [...CORE, ...SHARED] },
  { path: "backend/inference/", imports: [...CORE, ...SHARED] },
  { path: "probes/", imports: [...CORE, ...METHODS, ...SHARED] },
  { path: "synthetic-tasks/", imports: [...CORE, ...METHODS, ...SHARED] },
  { path: "backend/exports/", imports: [...CORE, ...METHODS, ...SHARED] },
  { path: "backend/store/", imports: ["backend/training/"] },
  { path: "backend/reports/", imports: [] },
  { path: "backend/evaluation/", imports: [...CORE, ...METHODS, ...SHARED, "synthetic-tasks/", "backend/reports/"] },
  { path: "backend/workers/handler.ts", imports: [] },
  { path: "backend/jobs/kinds/train.ts", imports: [...JOBS, "backend/jobs/"] },
  { path: "backend/jobs/", imports: [...JOBS, "backend/jobs/kinds/train.ts"] },
  { path: "experiments/", imports: [...CORE, ...METHODS, ...SHARED, ...REGISTRIES, ...KEPT, "backend/jobs/"] },
  { path: "backend/doctor.ts", imports: CORE },
  { path: "backend/jobs/kinds/", imports: [...ALL, "backend/workers/handler.ts"] },
  { path: "backend/index.ts", imports: ALL },
  { path: "backend/workers/", imports: [...ALL, ...KINDS] },
  { path: "backend/server/", imports: [...ALL, ...KINDS, "backend/workers/"] },
  { path: "backend/cli/", imports: [...ALL, ...KINDS, "backend/server/"] },
];

const IMPORT =
  /^\s*(?:import|export)\s+(?<type>type\s)?[^"';]*?from\s*"(?<from>\.[^"]+)"|^\s*import\s+"(?<bare>\.[^"]+)"|(?<of>typeof\s+)?(?:import|require)\(\s*"(?<late>\.[^"]+)"\s*\)/gm;

/**
 * The relative imports of a source.
 * @param {string} text
 * @returns {{ target: string, typeOnly: boolean, line: number }[]}
 */
export function importsOf(text) {
  const lines = text.split("\n");
  return [...text.matchAll(IMPORT)].flatMap((match) => {
    const { type, from, bare, of, late } = match.groups ?? {};
    const line = text.slice(0, match.index + match[0].search(/\S/)).split("\n").length;
    if (late !== undefined && /^\s*\*|\/\*\*.*@/.test(lines[line - 1] ?? "")) return []; // a type in a doc comment
    return [{ target: from ?? bare ?? late ?? "", typeOnly: (type ?? of) !== undefined, line }];
  });
}

/** @param {string} path from the root @param {readonly Layer[]} layers @returns {Layer | undefined} */
function layerOf(path, layers) {
  return layers
    .filter((layer) => (layer.path.endsWith("/") ? path.startsWith(layer.path) : path === layer.path))
    .sort((a, b) => b.path.length - a.path.length)[0];
}

/**
 * Finds what breaks the rules in one file.
 * @param {string} path of the file, from the root with forward slashes
 * @param {string} text
 * @param {readonly Layer[]} [layers]
 * @returns {string[]} one line each
 */
export function violations(path, text, layers = LAYERS) {
  const own = layerOf(path, layers);
  return importsOf(text).flatMap(({ target, typeOnly, line }) => {
    const to = join(dirname(path), target).replaceAll("\\", "/");
    const where = `${path}:${line}`;
    if (path.startsWith("frontend/")) {
      if (to.startsWith("frontend/") || typeOnly) return [];
      if (to.startsWith(COMMON) && !SCHEMAS.some((folder) => to.startsWith(folder))) return [];
      return [`${where}: frontend may import types, and values of ${COMMON} that are no schemas, not ${to}`];
    }
    if (path.startsWith(COMMON))
      return to.startsWith(COMMON) ? [] : [`${where}: ${COMMON} is below every layer, ${to} is not`];
    if (to.startsWith(COMMON)) return [];
    if (EVERYBODY.includes(path))
      return EVERYBODY.includes(to) || to.startsWith("backend/setup/")
        ? []
        : [`${where}: ${path} is below every layer, ${to} is not`];
    if (!own) return [`${where}: ${path} belongs to no layer; give it one in backend/setup/check/layers.mjs`];
    if (own.path !== "backend/setup/" && EVERYBODY.includes(to)) return [];
    const other = layerOf(to, layers);
    if (other === own || (other && own.imports.includes(other.path))) return [];
    if (typeOnly && own.path === "backend/setup/") return []; // nothing of it runs
    return [`${where}: ${own.path} may not import ${other?.path ?? to}`];
  });
}

/**
 * Every import that goes the wrong way.
 * @param {string} root
 * @returns {string[]} one line each
 */
export function checkLayers(root) {
  return ["backend", "probes", "synthetic-tasks", "experiments", "frontend"]
    .flatMap((folder) => filesBelow(join(root, folder), [".ts", ".mjs", ".svelte"]))
    .flatMap((file) => violations(relative(root, file).replaceAll("\\", "/"), readFileSync(file, "utf8")));
}
