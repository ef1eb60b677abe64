import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import ts from "typescript";
import { filesBelow } from "../files.mjs";
import { importsOf } from "./layers.mjs";

const ROOMS = ["backend", "frontend", "probes", "experiments", "synthetic-tasks", "test"];
const CODE = [".ts", ".mjs", ".cjs", ".svelte"];
const DATA = [".cc", ".h", ".css", ".py"];

/** Files of one folder before it gets rooms. */
const MOST_FILES = 12;
/** Positional parameters of a function; beyond that an object with names. */
const MOST_PARAMETERS = 4;

/** Functions of the library that its users call with an optional fifth argument. */
const PUBLISHED = ["exportHeads", "train"];

/** Folders of entries of one shape, listed once: they may have as many as there are. */
const REGISTRIES = [
  "backend/cli/commands",
  "backend/cli/text",
  "backend/common/api",
  "backend/jobs/kinds",
  "backend/models/families",
  "backend/server/routes",
  "backend/workers/requests",
  "test/integration",
  "test/oracles",
];

/** Opens a doc comment with a riddle instead of the thing. */
const RIDDLE = /\/\*\*\s*(?:\*\s*)?(?<word>What|How|Whether|Where|Which)\b/g;

/**
 * @typedef {object} Source
 * @property {string} path from the root, with forward slashes
 * @property {string} text
 */

/**
 * Reads the files of a checkout that the rules are about.
 * @param {string} root
 * @param {readonly string[]} paths
 * @returns {Source[]}
 */
function readSources(root, paths) {
  return paths.map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
}

/**
 * Import circles, imports of types included.
 * @param {readonly Source[]} sources
 * @returns {string[]} one line a circle: the files that reach each other
 */
export function circles(sources) {
  const targets = new Map(
    sources.map(({ path, text }) => [
      path,
      importsOf(text).map(({ target }) => join(dirname(path), target).replaceAll("\\", "/")),
    ]),
  );
  return strongComponents(targets)
    .filter((files) => files.length > 1)
    .map((files) => `${files.sort().join(", ")}: these import each other; move what both need below them`);
}

/**
 * Sets of nodes of which each reaches all others (Tarjan 1972).
 * @param {ReadonlyMap<string, readonly string[]>} edges
 * @returns {string[][]}
 */
function strongComponents(edges) {
  /** @type {Map<string, { index: number, low: number, open: boolean }>} */
  const marks = new Map();
  /** @type {string[]} */
  const stack = [];
  /** @type {string[][]} */
  const found = [];
  /** @param {string} node */
  const visit = (node) => {
    const mark = { index: marks.size, low: marks.size, open: true };
    marks.set(node, mark);
    stack.push(node);
    for (const next of edges.get(node) ?? []) {
      if (!edges.has(next)) continue;
      const other = marks.get(next) ?? visit(next);
      if (other.open) mark.low = Math.min(mark.low, other.low);
    }
    if (mark.low === mark.index) {
      const component = stack.splice(stack.indexOf(node));
      for (const member of component) /** @type {{ open: boolean }} */ (marks.get(member)).open = false;
      found.push(component);
    }
    return mark;
  };
  for (const node of edges.keys()) if (!marks.has(node)) visit(node);
  return found;
}

/**
 * Folders with more files than a reader keeps in mind.
 * @param {readonly string[]} paths
 * @returns {string[]}
 */
export function crowdedFolders(paths) {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const path of paths) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
  return [...counts]
    .filter(([folder, count]) => count > MOST_FILES && !REGISTRIES.includes(folder))
    .map(([folder, count]) => `${folder}: ${count} files; give them rooms`);
}

/**
 * Functions that take more positional arguments than a reader can tell apart.
 * @param {Source} source
 * @returns {string[]}
 */
export function longParameterLists({ path, text }) {
  const script = path.endsWith(".svelte") ? scriptOf(text) : text;
  const file = ts.createSourceFile(path, script, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
  /** @type {string[]} */
  const lines = [];
  /** @param {ts.Node} node */
  const visit = (node) => {
    // A signature without a body describes somebody else's function.
    const own = ts.isFunctionLike(node) && "body" in node && node.body !== undefined;
    if (own && node.parameters.length > MOST_PARAMETERS && !PUBLISHED.includes(node.name?.getText() ?? "")) {
      const line = file.getLineAndCharacterOfPosition(node.getStart()).line + 1;
      lines.push(`${path}:${line}: ${node.parameters.length} positional parameters; take an object with names`);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  return lines;
}

/** The scripts of a component, each on its own lines. @param {string} text */
function scriptOf(text) {
  const blank = (/** @type {string} */ part) => part.replace(/[^\n]/g, " ");
  let [script, end] = ["", 0];
  for (const match of text.matchAll(/<script[^>]*>(?<code>[\s\S]*?)<\/script>/g)) {
    const code = match.groups?.["code"] ?? "";
    const start = match.index + match[0].indexOf(code, match[0].indexOf(">"));
    script += blank(text.slice(end, start)) + code;
    end = start + code.length;
  }
  return script;
}

/**
 * Doc comments that open with a riddle.
 * @param {Source} source
 * @returns {string[]}
 */
export function riddles({ path, text }) {
  return [...text.matchAll(RIDDLE)].map((match) => {
    const line = text.slice(0, match.index).split("\n").length;
    return `${path}:${line}: a doc comment opens with "${match.groups?.["word"]}"; say what the thing is or does`;
  });
}

/**
 * Values that the front end imports together with schemas: the browser would fetch the schema library before the first page.
 * @param {readonly Source[]} sources
 * @returns {string[]}
 */
export function schemasInBrowser(sources) {
  const files = new Map(sources.map(({ path, text }) => [path, text]));
  /** @type {Map<string, string | undefined>} */
  const reached = new Map();
  /** @param {string} path @returns {string | undefined} the file that imports the library */
  const schemaBehind = (path) => {
    if (reached.has(path)) return reached.get(path);
    reached.set(path, undefined);
    const text = files.get(path) ?? "";
    const behind = /^import (?!type )[^;]*from "zod"/m.test(text)
      ? path
      : valueImports(path, text)
          .map(schemaBehind)
          .find((found) => found !== undefined);
    reached.set(path, behind);
    return behind;
  };
  return sources
    .filter(({ path }) => path.startsWith("frontend/"))
    .flatMap(({ path, text }) =>
      valueImports(path, text)
        .filter((target) => target.startsWith("backend/"))
        .map((target) => ({ target, behind: schemaBehind(target) }))
        .filter(({ behind }) => behind !== undefined)
        .map(({ target, behind }) => `${path}: ${target} brings the schemas of ${behind} into the browser`),
    );
}

/** Files of which a file imports more than types. @param {string} path @param {string} text */
function valueImports(path, text) {
  return importsOf(text)
    .filter(({ typeOnly }) => !typeOnly)
    .map(({ target }) => join(dirname(path), target).replaceAll("\\", "/"));
}

/**
 * Everything in a checkout that breaks a rule of the house.
 * @param {string} root
 * @returns {string[]} one line each
 */
export function checkHouse(root) {
  const files = ROOMS.flatMap((room) =>
    filesBelow(join(root, room), [...CODE, ...DATA]).map((path) => relative(root, path).replaceAll("\\", "/")),
  ).filter((path) => !path.startsWith("test/fixtures/"));
  const sources = readSources(
    root,
    files.filter((path) => CODE.some((end) => path.endsWith(end))),
  );
  const own = sources.filter(({ path }) => !path.startsWith("test/"));
  return [
    ...circles(sources),
    ...crowdedFolders(files),
    ...schemasInBrowser(own),
    ...own.flatMap((source) => [...longParameterLists(source), ...riddles(source)]),
  ];
}
