import { existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { HeadscopeError, unknownName } from "../errors.ts";
import { readJson } from "../json.ts";
import { checkpointFile, checkpointSteps, runIds } from "../paths.ts";
import { initBackend } from "../runtime/backend.ts";
import { tf } from "../runtime/tf.ts";
import { CATALOGUE } from "./catalogue.ts";
import type { ModelConfig } from "./config.ts";
import { toyInduction } from "./constructed.ts";
import { checkParts, type Family, familyOf, type Part, readPart, readPartNarrow } from "./families/index.ts";
import { type Checkpoint, openCheckpoint } from "./formats/checkpoint.ts";
import { type Tokenizer, tokenizerFromGguf, tokenizerFromJson } from "./formats/tokenizer.ts";
import { Matrix } from "./matrix.ts";
import { Model } from "./model.ts";
import { modelDigest, modelFile } from "./pull.ts";
import { isRunFile, modelOfParameters, parametersDigest, readRunCheckpoint } from "./run-checkpoint.ts";
import type { BlockWeights, NormWeights, Weights } from "./weights.ts";

export interface LoadOptions {
  /**
   * How weights are held: "f32" (default), or "q8", which keeps quantised ones as 8-bit codes with their scales
   * and widens them where they are used: the same values, a quarter of the memory.
   */
  weights?: "f32" | "q8";
  /** Called as parts are read, with the share done in [0, 1]. */
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/**
 * Loads a model.
 * @param ref a catalogue name (smollm2-135m, toy-induction), run:ID or run:ID@step, or the path of a checkpoint file or folder
 * @throws HeadscopeError for an unknown name, a model that is not pulled, a checkpoint that is corrupt or of an unknown family
 */
export async function loadModel(ref: string, options: LoadOptions = {}): Promise<Model> {
  await initBackend();
  const source = resolve(ref);
  if (source.kind === "constructed") return toyInduction();
  if (source.kind === "run") {
    const { config, parameters } = await readRunCheckpoint(source.path);
    return modelOfParameters(source.ref, config, parameters);
  }
  return withCheckpoint(source.path, (checkpoint) => readModel(ref, checkpoint, source.digest, options));
}

/** A model's identity and shape. */
export type ModelDescription = Pick<Model, "ref" | "family" | "digest" | "config">;

/**
 * Describes a model without reading its weights, which may yet turn out to be unreadable.
 * @param ref as for `loadModel`
 * @throws HeadscopeError as `loadModel` does, but for what only the weights can show, such as NaN
 */
export async function describeModel(ref: string): Promise<ModelDescription> {
  const source = resolve(ref);
  if (source.kind === "constructed") {
    await initBackend();
    const model = toyInduction();
    model.dispose();
    const { family, digest, config } = model;
    return { ref, family, digest, config };
  }
  if (source.kind === "run") {
    const { config, parameters } = await readRunCheckpoint(source.path);
    return { ref: source.ref, family: "toy", digest: parametersDigest(config, parameters), config };
  }
  return withCheckpoint(source.path, async (checkpoint) => {
    const { family, config } = readShape(checkpoint);
    return { ref, family: family.name, digest: source.digest ?? (await checkpoint.digest()), config };
  });
}

/**
 * What a reference stands for now, as a text: it changes when a run has saved a later step or a file was written anew, and
 * then an open model is not what the reference names any more.
 * @throws HeadscopeError as `loadModel` does for a name, before anything is read
 */
export function modelVersion(ref: string): string {
  const source = resolve(ref);
  if (source.kind === "constructed") return ref;
  const { mtimeMs, size } = statSync(source.path);
  return `${source.kind === "run" ? source.ref : source.path} ${mtimeMs} ${size}`;
}

/** Where a model comes from; a pulled one's digest is on record. */
type Source =
  | { readonly kind: "constructed" }
  | { readonly kind: "run"; readonly path: string; readonly ref: string }
  | { readonly kind: "checkpoint"; readonly path: string; readonly digest: string | undefined };

function resolve(ref: string): Source {
  if (ref.startsWith("run:")) return resolveRun(ref);
  const known = Object.hasOwn(CATALOGUE, ref) ? CATALOGUE[ref] : undefined;
  if (known?.kind === "constructed") return { kind: "constructed" };
  const path = known ? modelFile(ref) : ref;
  if (path === undefined) {
    throw new HeadscopeError("missing", `model ${ref} is not on this machine`, {
      remedy: `run \`headscope models pull ${ref}\``,
    });
  }
  if (!existsSync(path)) {
    if (/[/\\]|\.(gguf|safetensors)$/.test(ref))
      throw new HeadscopeError("missing", `there is no file or folder ${ref}`, { remedy: "check the path" });
    throw unknownName("model", ref, Object.keys(CATALOGUE));
  }
  if (path.endsWith(".safetensors") && isRunFile(path)) return { kind: "run", path, ref };
  return { kind: "checkpoint", path, digest: known ? modelDigest(ref) : undefined };
}

/** `run:ID@step`, or `run:ID` for its last checkpoint. The ref that comes back always has the step. */
function resolveRun(ref: string): Source {
  const { id, step } = parseRunRef(ref);
  const steps = checkpointSteps(id);
  if (steps.length === 0) {
    if (!runIds().includes(id)) throw unknownName("run", id, runIds());
    throw new HeadscopeError("missing", `run ${id} has no checkpoint yet`, {
      remedy: `wait for it, or go on with \`headscope train --resume ${id}\``,
    });
  }
  if (step !== undefined && !steps.includes(step))
    throw new HeadscopeError("usage", `run ${id} has no checkpoint at step ${step}`, {
      remedy: `choose one of ${steps.join(", ")}`,
    });
  const chosen = step ?? steps.at(-1)!;
  return { kind: "run", path: checkpointFile(id, chosen), ref: `run:${id}@${chosen}` };
}

/**
 * Reads `run:ID` or `run:ID@step`.
 * @throws HeadscopeError (usage) for anything else
 */
export function parseRunRef(ref: string): { id: string; step: number | undefined } {
  const found = /^run:([A-Za-z0-9-]+)(?:@(\d+))?$/.exec(ref);
  if (!found) throw new HeadscopeError("usage", `"${ref}" names no run`, { remedy: "write run:ID or run:ID@step" });
  return { id: found[1]!, step: found[2] === undefined ? undefined : Number(found[2]) };
}

async function withCheckpoint<T>(path: string, use: (checkpoint: Checkpoint) => Promise<T>): Promise<T> {
  const checkpoint = await openCheckpoint(path);
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

/** What a checkpoint's header says, checked: every part of its family is there in its shape. */
function readShape(checkpoint: Checkpoint): {
  family: Family;
  config: ModelConfig;
  parts: Readonly<Record<string, Part>>;
} {
  const family = familyOf(checkpoint);
  const config = family.config(checkpoint);
  const parts = family.parts(config, checkpoint);
  checkParts(checkpoint, parts);
  return { family, config, parts };
}

async function readModel(
  ref: string,
  checkpoint: Checkpoint,
  digest: string | undefined,
  options: LoadOptions,
): Promise<Model> {
  const { family, config, parts } = readShape(checkpoint);
  const reader = new PartReader(checkpoint, parts, options);
  try {
    return new Model({
      ref,
      family: family.name,
      digest: digest ?? (await checkpoint.digest()),
      config,
      weights: await reader.weights(config),
      tokenizer: await tokenizerOf(checkpoint),
    });
  } catch (error) {
    reader.dispose();
    throw error;
  }
}

/** The checkpoint's own tokenizer; undefined where it has none or one of a kind not read yet, since token ids do without. */
async function tokenizerOf(checkpoint: Checkpoint): Promise<Tokenizer | undefined> {
  try {
    if (checkpoint.format === "gguf")
      return checkpoint.metadata["tokenizer.ggml.model"] === undefined
        ? undefined
        : tokenizerFromGguf(checkpoint.metadata);
    const beside = (name: string): string => join(dirname(checkpoint.path), name);
    if (!existsSync(beside("tokenizer.json"))) return undefined;
    const config = existsSync(beside("tokenizer_config.json"))
      ? await readJson(beside("tokenizer_config.json"), "tokenizer config")
      : {};
    return tokenizerFromJson(
      (await readJson(beside("tokenizer.json"), "tokenizer")) as object,
      config as Record<string, unknown>,
    );
  } catch (error) {
    if (error instanceof HeadscopeError && error.kind === "unsupported") return undefined;
    throw error;
  }
}

/** Reads the parts of a checkpoint into tensors, and frees them again where one fails. */
class PartReader {
  readonly #checkpoint: Checkpoint;
  readonly #parts: Readonly<Record<string, Part>>;
  readonly #options: LoadOptions;
  readonly #made: { dispose(): void }[] = [];
  #read = 0;

  constructor(checkpoint: Checkpoint, parts: Readonly<Record<string, Part>>, options: LoadOptions) {
    this.#checkpoint = checkpoint;
    this.#parts = parts;
    this.#options = options;
  }

  dispose(): void {
    for (const made of this.#made) made.dispose();
  }

  async weights(config: ModelConfig): Promise<Weights> {
    const { d_model, d_head, n_heads: H, n_key_value_heads: G, d_mlp, d_vocab, n_ctx } = config;
    const embed = await this.#matrix("embed", [d_vocab, d_model]);
    const blocks: BlockWeights[] = [];
    for (let l = 0; l < config.n_layers; l++) {
      const at = `blocks.${l}`;
      blocks.push({
        ...named("ln1", await this.#norm(`${at}.ln1`)),
        qkv: await this.#matrix(`${at}.attn.qkv`, [(H + 2 * G) * d_head, d_model]),
        ...named("qkvBias", await this.#vector(`${at}.attn.qkv_bias`)),
        o: await this.#matrix(`${at}.attn.o`, [d_model, H * d_head]),
        ...named("oBias", await this.#vector(`${at}.attn.o_bias`)),
        ...named("ln2", await this.#norm(`${at}.ln2`)),
        ...(config.attn_only
          ? {}
          : {
              mlpIn: await this.#matrix(`${at}.mlp.in`, [(config.gated_mlp ? 2 : 1) * d_mlp, d_model]),
              ...named("mlpInBias", await this.#vector(`${at}.mlp.in_bias`)),
              mlpOut: await this.#matrix(`${at}.mlp.out`, [d_model, d_mlp]),
              ...named("mlpOutBias", await this.#vector(`${at}.mlp.out_bias`)),
            }),
      });
    }
    return {
      embed,
      ...(config.positional_embedding_type === "standard"
        ? { posEmbed: await this.#matrix("pos_embed", [n_ctx, d_model]) }
        : {}),
      blocks,
      ...named("lnFinal", await this.#norm("ln_final")),
      unembed: this.#parts["unembed"] ? await this.#matrix("unembed", [d_vocab, d_model]) : embed,
    };
  }

  async #matrix(name: string, shape: [number, number]): Promise<Matrix> {
    const part = this.#part(name)!;
    const narrow = this.#options.weights === "q8" ? await readPartNarrow(this.#checkpoint, part) : undefined;
    return this.#keep(
      narrow ? Matrix.fromNarrow(narrow, shape) : Matrix.fromValues(await readPart(this.#checkpoint, part), shape),
    );
  }

  async #vector(name: string): Promise<ReturnType<typeof tf.tensor1d> | undefined> {
    const part = this.#part(name);
    return part && this.#keep(tf.tensor1d(await readPart(this.#checkpoint, part)));
  }

  async #norm(prefix: string): Promise<NormWeights | undefined> {
    const w = await this.#vector(`${prefix}.w`);
    const b = await this.#vector(`${prefix}.b`);
    return w && { w, ...(b ? { b } : {}) };
  }

  #part(name: string): Part | undefined {
    this.#options.signal?.throwIfAborted();
    this.#options.onProgress?.(Math.min(1, this.#read++ / Object.keys(this.#parts).length));
    return this.#parts[name];
  }

  #keep<T extends { dispose(): void }>(made: T): T {
    this.#made.push(made);
    return made;
  }
}

function named<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]?: V });
}
