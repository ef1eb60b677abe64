import { existsSync } from "node:fs";
import { isAbsolute } from "node:path";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { readRun } from "../../common/run-reference.ts";
import { CATALOGUE, type Catalogue, type CatalogueModel } from "./catalogue.ts";
import { type HubRef, parseHubRef } from "./hub/ref.ts";

/** A model of the catalogue. */
export interface CatalogueReference {
  readonly kind: "catalogue";
  readonly text: string;
  readonly name: string;
  readonly model: CatalogueModel;
}

/** A training run: `run:ID`, or `run:ID@STEP` for one of its checkpoints. */
export interface RunReference {
  readonly kind: "run";
  readonly text: string;
  readonly id: string;
  /** Undefined for the last checkpoint. */
  readonly step: number | undefined;
}

/** A checkpoint in the Hugging Face cache: `hf:ORG/NAME[/FILE.gguf][@REVISION]`. */
export interface HubReference {
  readonly kind: "hub";
  readonly text: string;
  readonly hub: HubRef;
}

/** A checkpoint file or folder. */
export interface PathReference {
  readonly kind: "path";
  readonly text: string;
}

/** The meaning of a text that names a model; `text` is what was written. */
export type ModelReference = CatalogueReference | RunReference | HubReference | PathReference;

/**
 * The rule by which texts are paths, for those that are no other kind of reference:
 * - "existing": what has a slash or ends as a model's file does, and the name of anything in the working folder. For whoever
 *   types a command or writes a script.
 * - "slashed": what has a slash, and nothing else. For the API, whose callers don't know the working folder.
 * - "absolute": absolute paths alone. For workers: the API hands them a path only after it has checked it, and as an absolute one.
 * - "none".
 */
export type PathRule = "existing" | "slashed" | "absolute" | "none";

const MODEL_FILE = /\.(gguf|safetensors)$/;

const PATH_RULES: Readonly<Record<PathRule, (text: string) => boolean>> = {
  existing: (text) => /[/\\]/.test(text) || MODEL_FILE.test(text) || existsSync(text),
  slashed: (text) => /[/\\]/.test(text),
  absolute: isAbsolute,
  none: () => false,
};

/**
 * Reads the reference of a model: the one place that decides what kind it is. `run:` and `hf:` come first, then the names of
 * the catalogue, then paths; nothing is opened.
 * @param paths which texts are paths
 * @param catalogue default headscope's own
 * @throws HeadscopeError "usage" for a malformed reference and for an unknown name
 */
export function parseReference(text: string, paths: PathRule, catalogue: Catalogue = CATALOGUE): ModelReference {
  if (text.startsWith("run:")) return parseRun(text);
  if (text.startsWith("hf:")) return { kind: "hub", text, hub: parseHubRef(text) };
  const model = Object.hasOwn(catalogue, text) ? catalogue[text] : undefined;
  if (model !== undefined) return { kind: "catalogue", text, name: text, model };
  if (text !== "" && PATH_RULES[paths](text)) return { kind: "path", text };
  const unknown = unknownName("model", text, Object.keys(catalogue));
  if (paths !== "slashed" || !MODEL_FILE.test(text)) throw unknown;
  const { kind, message, subject } = unknown;
  throw new HeadscopeError(kind, message, { remedy: "give the whole path of the file", subject });
}

function parseRun(text: string): RunReference {
  const run = readRun(text);
  if (run === undefined)
    throw new HeadscopeError("usage", `"${text}" names no run`, { remedy: "write run:ID or run:ID@step" });
  return { kind: "run", text, id: run.id, step: run.step };
}
