import { z } from "zod";
import { headModelSchema } from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import { parseDocument } from "../common/heads/document.ts";
import { checkModel, headModel } from "../common/heads/model.ts";
import { CACHE_KINDS } from "../common/words.ts";
import { type CacheForm, describeForm } from "../models/cache/forms/form.ts";
import type { HeldBytes } from "../models/cache/heads/head-cache.ts";
import { KvCache } from "../models/cache/kv-cache.ts";
import { outputWidth } from "../models/config.ts";
import { type ByteSource, corrupt, openBytes } from "../models/formats/bytes.ts";
import {
  encodeSafetensors,
  readSafetensorsHeader,
  type SafeTensor,
  type SafetensorsEntry,
} from "../models/formats/safetensors/safetensors.ts";
import type { Model } from "../models/model.ts";
import { writeFileAtomic } from "../paths.ts";
import { Prefix } from "./prefix.ts";

/** The format of a file of cached keys and values. */
export const CACHE_FORMAT = "headscope.kv-cache/1";
/** Metadata of the file that says what it holds. */
const ABOUT = "headscope.kv-cache";
const REMEDY = "save the cache again with this version of headscope and this model";

const window = z.strictObject({ sink: z.int().min(0), recent: z.int().min(1) });
const aboutSchema = z.strictObject({
  format: z.literal(CACHE_FORMAT),
  model: headModelSchema,
  kind: z.enum(CACHE_KINDS),
  /** By layer and KV head. */
  windows: z.array(z.array(window.nullable())),
  /** Interventions that it was read under, as JSON. */
  changes: z.string(),
  /** Tokens that a new numbering of the positions has left out; the tokens at positions then stand beside keys and values. */
  skipped: z.int().min(1).optional(),
  /** By layer and KV head, the channels that are left of keys that were pruned. */
  channels: z.array(z.array(z.array(z.int().min(0)).min(1))).optional(),
});

type RowsPart = "keys" | "values" | "positions";
const nameOf = (layer: number, head: number, part: RowsPart | `pruned.${RowsPart}` | "origins"): string =>
  `blocks.${layer}.kv.${head}.${part}`;

/**
 * Writes a prefix to a safetensors file, whole or not at all: keys and values as they are held, their positions, the tokens, and the
 * logits of what follows.
 * @throws HeadscopeError (unsupported) for one of a model under interventions, which no file can tell of, for one in codes or with
 * summaries, (usage) for one disposed
 */
export async function saveCache(path: string, prefix: Prefix): Promise<void> {
  prefix.checkHeld();
  if (prefix.ofChangedModel)
    throw new HeadscopeError("unsupported", "the cache of a model under interventions can't be saved", {
      remedy: "give the interventions to readPrefix instead, which notes them",
    });
  const { model, tokens, logits, cache, changes } = prefix;
  checkSavable(cache.form);
  if (cache.summarises)
    throw new HeadscopeError("unsupported", "a cache with rows that stand for several tokens can't be saved", {
      remedy: "read the prefix without the policy that makes them, and give it where you go on from the file",
    });
  const windows = cache.windows.map((heads) => heads.map((window) => window ?? null));
  const skipped = tokens.length - cache.lengths[0]!;
  const about: z.input<typeof aboutSchema> = {
    ...{ format: CACHE_FORMAT, model, kind: cache.kind, windows, changes },
    ...(skipped > 0 ? { skipped } : {}),
    channels: cache.channels(0),
  };
  const entries: [string, SafeTensor][] = [
    ["tokens", { dtype: "I32", shape: [tokens.length], data: Int32Array.from(tokens) }],
    ["logits", { dtype: "F32", shape: [logits.length], data: logits }],
  ];
  cache.windows.forEach((heads, layer) => {
    heads.forEach((_, head) => {
      entries.push(...entriesOf(cache, layer, head));
    });
  });
  await writeFileAtomic(path, encodeSafetensors(Object.fromEntries(entries), { [ABOUT]: JSON.stringify(about) }));
}

/** Insists that a cache of a form can be saved. @throws HeadscopeError (unsupported) for codes, which no file holds */
export function checkSavable(form: CacheForm | undefined): void {
  if (!form) return;
  throw new HeadscopeError("unsupported", `a cache in ${describeForm(form)} can't be saved`, {
    remedy: "read the prefix without the policy for the form, and give it where you go on from the file",
  });
}

/** A KV head as tensors. Its bytes are copied when they are written. */
function entriesOf(cache: KvCache, layer: number, head: number): [string, SafeTensor][] {
  const own = cache.head(layer, 0, head);
  const { whole: positions, pruned } = own.positionsByForm(cache.lengths[0]!);
  let held: HeldBytes | undefined;
  const last = pruned ? "pruned.values" : "values"; // to be written
  const part = (name: "keys" | "values", of: "whole" | "pruned"): [string, SafeTensor] => {
    const full = of === "whole" ? name : (`pruned.${name}` as const);
    const rows = of === "whole" ? positions.length : pruned!.length;
    const { dtype, shape } = formOf(cache, rows, name, of === "pruned" ? own.channels : undefined);
    const tensor: SafeTensor = {
      dtype,
      shape,
      get data() {
        held ??= cache.dump(layer, 0, head);
        const bytes = of === "whole" ? held[name] : held.pruned![name];
        if (full === last) held = undefined;
        return dtype === "U8" ? bytes : new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      },
    };
    return [nameOf(layer, head, full), tensor];
  };
  return [
    part("keys", "whole"),
    part("values", "whole"),
    [nameOf(layer, head, "positions"), whole(positions)],
    ...(pruned
      ? [part("keys", "pruned"), part("values", "pruned"), [nameOf(layer, head, "pruned.positions"), whole(pruned)]]
      : []),
    ...(cache.seen[0] === cache.lengths[0]
      ? []
      : [[nameOf(layer, head, "origins"), whole(cache.head(layer, 0, head).renumbered)]]),
  ] as [string, SafeTensor][];
}

function whole(numbers: readonly number[]): SafeTensor {
  return { dtype: "I32", shape: [numbers.length], data: Int32Array.from(numbers) };
}

/** The form of rows in a file: numbers, or the bytes of what is held in fewer bits. @param channels of keys that are pruned */
function formOf(
  { kind, storage }: KvCache,
  rows: number,
  part: "keys" | "values",
  channels: readonly number[] | undefined,
): { dtype: "F32" | "U8"; shape: number[] } {
  const bytes = (channels ? storage.ofChannels(channels) : storage).heldBytes[part];
  return kind === "f32" ? { dtype: "F32", shape: [rows, bytes / 4] } : { dtype: "U8", shape: [rows, bytes] };
}

/**
 * Reads what `saveCache` wrote.
 * @returns a prefix of the caller's, as it was saved
 * @throws HeadscopeError (missing, corrupt) for a file that is not there or damaged, (input) for another file or version, (mismatch)
 *   for another model or other weights, (unsupported) for a kind that needs kernels where there are none
 */
export async function loadCache(path: string, model: Model): Promise<Prefix> {
  const source = await openBytes(path);
  let cache: KvCache | undefined;
  try {
    const { metadata, tensors } = await readSafetensorsHeader(source);
    const file = new TensorFile(source, tensors);
    const about = aboutOf(metadata[ABOUT], path);
    checkModel(about, headModel(model), path);
    const [tokens, logits] = [await file.whole("tokens"), await file.floats("logits", outputWidth(model.config))];
    checkTokens(tokens, path, model);
    checkTable(about.windows, path, model);
    checkChannels(about.channels, path, model);
    const { skipped = 0 } = about;
    const length = tokens.length - skipped;
    if (length < 1) throw corrupt(path, `of ${tokens.length} tokens ${skipped} are said to be left out`);
    const windows = about.windows.map((heads) => heads.map((window) => window ?? undefined));
    cache = new KvCache(model.config, { kind: about.kind, windows });
    for (let layer = 0; layer < cache.layers; layer++)
      for (let head = 0; head < model.config.n_key_value_heads; head++)
        await fill(cache, file, {
          ...{ layer, head, length, renumbered: skipped > 0 },
          channels: about.channels?.[layer]?.[head],
        });
    cache.advance(length);
    cache.skip(0, skipped);
    return new Prefix(model, { tokens, cache, logits, changes: about.changes });
  } catch (error) {
    cache?.dispose();
    if (!(error instanceof HeadscopeError) || error.kind !== "corrupt") throw error;
    throw new HeadscopeError("corrupt", error.message, { ...error, remedy: REMEDY, cause: error });
  } finally {
    await source.close();
  }
}

function aboutOf(text: string | undefined, path: string): z.output<typeof aboutSchema> {
  let about: unknown;
  try {
    about = JSON.parse(text ?? "null");
  } catch (cause) {
    throw corrupt(path, "what it says of itself is no JSON", cause);
  }
  const parsed = parseDocument(aboutSchema, about, { format: CACHE_FORMAT, label: path, remedy: REMEDY });
  if (parsed.model.digest === undefined) throw corrupt(path, "it does not say of which weights it is");
  return parsed;
}

function checkTokens(tokens: readonly number[], path: string, { config }: Model): void {
  if (tokens.length === 0 || tokens.length > config.n_ctx || tokens.some((id) => id < 0 || id >= config.d_vocab))
    throw corrupt(path, "its tokens are none of the model's");
}

function checkTable(table: readonly (readonly unknown[])[], path: string, { config }: Model): void {
  const fits = table.length === config.n_layers && table.every(({ length }) => length === config.n_key_value_heads);
  if (!fits) throw corrupt(path, "its tables are not of every KV head of every layer");
}

function checkChannels(table: z.output<typeof aboutSchema>["channels"], path: string, model: Model): void {
  if (table === undefined) return;
  checkTable(table, path, model);
  const { d_head } = model.config;
  const ascend = table.flat().every((list) => list.every((c, i) => c > (list[i - 1] ?? -1) && c < d_head));
  if (!ascend) throw corrupt(path, "the channels that are left of its keys are none of a head's, or don't ascend");
}

/** A KV head of a file. */
interface FileHead {
  readonly layer: number;
  readonly head: number;
  /** Positions of the cache. */
  readonly length: number;
  readonly renumbered: boolean;
  readonly channels: readonly number[] | undefined;
}

/** Puts a KV head's rows where the cache holds them. */
async function fill(
  cache: KvCache,
  file: TensorFile,
  { layer, head, length, renumbered, channels }: FileHead,
): Promise<void> {
  const rows = async (before: "" | "pruned.") => {
    const positions = await file.whole(nameOf(layer, head, `${before}positions`));
    const part = (name: "keys" | "values") => {
      const form = formOf(cache, positions.length, name, before ? channels : undefined);
      return file.bytes(nameOf(layer, head, `${before}${name}`), form);
    };
    return { positions, keys: await part("keys"), values: await part("values") };
  };
  const own = await rows("");
  const pruned = channels && file.has(nameOf(layer, head, "pruned.positions")) ? await rows("pruned.") : undefined;
  const origins = renumbered ? await file.whole(nameOf(layer, head, "origins")) : undefined;
  if (!cache.restore(layer, head, length, { ...own, origins, channels, pruned }))
    throw corrupt(file.path, `layer ${layer}, KV head ${head} is said to hold positions that it can't`);
}

/** Tensors of an open safetensors file, checked for their form. */
class TensorFile {
  readonly path: string;
  readonly #source: ByteSource;
  readonly #tensors: ReadonlyMap<string, SafetensorsEntry>;

  constructor(source: ByteSource, tensors: ReadonlyMap<string, SafetensorsEntry>) {
    this.path = source.path;
    this.#source = source;
    this.#tensors = tensors;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Bytes of a tensor. @throws HeadscopeError (corrupt) where it is not there, or of another form */
  async bytes(name: string, { dtype, shape }: { dtype: string; shape: readonly number[] }) {
    const entry = this.#tensors.get(name);
    const form = `${dtype} [${shape.join(", ")}]`;
    if (!entry) throw corrupt(this.path, `it has no tensor "${name}"`);
    if (`${entry.dtype} [${entry.shape.join(", ")}]` !== form)
      throw corrupt(this.path, `tensor "${name}" is ${entry.dtype} [${entry.shape.join(", ")}], not ${form}`);
    return this.#source.read(entry.offset, entry.bytes);
  }

  /** Whole numbers [n]. */
  async whole(name: string): Promise<number[]> {
    const length = this.#tensors.get(name)?.shape[0] ?? 0;
    return [...new Int32Array((await this.bytes(name, { dtype: "I32", shape: [length] })).buffer)];
  }

  /** Numbers [length]. */
  async floats(name: string, length: number): Promise<Float32Array> {
    return new Float32Array((await this.bytes(name, { dtype: "F32", shape: [length] })).buffer);
  }
}
