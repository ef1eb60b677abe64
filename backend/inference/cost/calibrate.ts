import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { median } from "../../common/numerics/averages.ts";
import type { CacheKind, WeightType } from "../../common/words.ts";
import { attend } from "../../kernels/attend.ts";
import type { FormatName } from "../../kernels/formats.ts";
import { hasKernels, loadKernels } from "../../kernels/kernels.ts";
import { Page } from "../../kernels/pages.ts";
import { placesOf } from "../../kernels/places.ts";
import { KvCache } from "../../models/cache/kv-cache.ts";
import type { ModelConfig } from "../../models/config.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { availableMemory, type MemoryEstimate } from "../../models/sources/memory.ts";
import { widenBlock } from "../../models/weights/weights.ts";
import { initBackend } from "../../runtime/backend.ts";
import { tf } from "../../runtime/tf.ts";
import { type Device, HERE, type Rates } from "./devices.ts";
import { layerParameters, readWeights } from "./predict.ts";
import { fillCache, NARROW, standIn } from "./stand-in.ts";

/** Parts of a model on which this machine's speeds depend. */
export interface Calibration {
  readonly config: ModelConfig;
  readonly memory: Pick<MemoryEstimate, "parameters" | "weights" | "q8Formats">;
  readonly weights: WeightType;
  readonly cache: CacheKind;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of the layers, and of the output's rows, that a token is timed with: more than most caches hold. */
const WEIGHTS = 96 * 2 ** 20;
/** Bytes of keys and values that reading them is timed with, and the tokens that they may be. */
const CACHED = 192 * 2 ** 20;
const [FEWEST_CACHED, MOST_CACHED] = [1024, 8192] as const;
/** Tokens that the cache holds where reading it is not timed. */
const FEW = 64;
/** Bytes that are written to the disk and synced. */
const DISK = 64 * 2 ** 20;
/** Tokens of a prompt's part, of layers beyond so many parameters fewer. */
const [PART, SMALL_PART, LARGE_LAYER] = [512, 128, 2e7] as const;
/** Keys that attention is timed over. */
const KEYS = 2048;
/** Layers of models that only differ in them: without weights, and of a prompt. */
const [SHALLOW, DEEP] = [2, 10] as const;
const [ONE, FOUR] = [1, 4] as const;
/** Of a layer that is held wide. */
const NOTHING = { dispose: () => {} } as const;
/** Tokens that are timed together. */
const STEPS = 4;
/** Times that each thing is done; the median counts, and the first run not at all. */
const REPEATS = 5;

/**
 * Measures this machine for a model of a shape, in some seconds: layers of its shapes and forms with made weights, layers without weights
 * to speak of over a short cache and a long one, a part of a prompt and two, attention, and a file that is synced. No weights are read.
 * @throws HeadscopeError (unsupported) without native kernels
 */
export async function measureHere(calibration: Calibration): Promise<Device> {
  await initBackend();
  if (!hasKernels())
    throw new HeadscopeError("unsupported", "this machine can't be measured: it has no native kernels", {
      remedy: "run headscope doctor, or give --device one of the table",
    });
  const rested = async <T>(step: () => T): Promise<T> => {
    calibration.signal?.throwIfAborted();
    await new Promise((resolve) => setImmediate(resolve));
    return step();
  };
  const hollow = await rested(() => hollowLayers(calibration));
  const weights = await rested(() => ownLayers(calibration, hollow));
  const attention = await rested(() => attending(calibration));
  const prompts = await rested(() => prompt(calibration, attention));
  return {
    name: HERE,
    title: `this machine: ${cpus()[0]?.model ?? process.arch}, ${availableParallelism()} cores, ${loadKernels().why}`,
    memory: availableMemory(),
    rates: { ...hollow, weights, attention, ...prompts },
    slow: { name: "the disk, written and synced", bandwidth: await writeDisk() },
    weights: calibration.weights,
    cache: calibration.cache,
    source: `measured ${new Date().toISOString()}`,
  };
}

/** Seconds of a layer and of a token beside the weights, and bytes of keys and values a second. */
function hollowLayers(calibration: Calibration): Pick<Rates, "layer" | "token" | "keys"> {
  const { config, cache: kind } = calibration;
  const page = Page.make(kind, config.d_head, 1);
  const tokenBytes = DEEP * config.n_key_value_heads * 2 * page.rowBytes;
  page.release();
  const many = Math.min(MOST_CACHED, Math.max(FEWEST_CACHED, Math.ceil(CACHED / tokenBytes)));
  const seconds = (n_layers: number, held: number): number => {
    const model = standIn(
      { ...config, d_model: NARROW, d_mlp: NARROW },
      { n_layers, n_ctx: 2 * many, vocabulary: NARROW },
      () => "f32",
    );
    return decoded(model, kind, held);
  };
  const [shallow, deep, long] = [seconds(SHALLOW, FEW), seconds(DEEP, FEW), seconds(DEEP, many)];
  const layer = Math.max(0, (deep - shallow) / (DEEP - SHALLOW));
  return {
    layer,
    token: Math.max(0, shallow - SHALLOW * layer),
    keys: (tokenBytes * (many - FEW)) / Math.max(long - deep, 1e-9),
  };
}

/** Bytes of weights a second that a token's products read: of layers of the model's own shapes and forms, and of its output. */
function ownLayers(calibration: Calibration, beside: Pick<Rates, "layer" | "token">): number {
  const { config, memory, weights, cache } = calibration;
  const held = { parameters: memory.parameters, weightBytes: memory.weights[weights] };
  const layerBytes = (held.weightBytes / held.parameters) * layerParameters(config);
  const n_layers = Math.min(config.n_layers, Math.ceil(WEIGHTS / layerBytes));
  const took = decoded(standIn(config, { n_layers, n_ctx: 2 * FEW }, formOf(calibration)), cache, FEW);
  const read = readWeights({ config: { ...config, n_layers }, ...held });
  return read / Math.max(took - n_layers * beside.layer - beside.token, 1e-9);
}

/** Seconds of a token behind so many; frees the model. */
function decoded(model: Model, kind: CacheKind, held: number): number {
  const cache = new KvCache(model.config, { capacity: held + STEPS * (REPEATS + 1), kind });
  cache.prepare(held);
  cache.advance(held);
  fillCache(cache);
  const step = () => timed(() => forward(model, { tokens: [[1]], cache, logitsAt: "last" }));
  const took = typical(() => Array.from({ length: STEPS }, step).reduce((sum, took) => sum + took) / STEPS);
  cache.dispose();
  model.dispose();
  return took;
}

/** FLOP/s of a prompt's products with weights, and weights a second that are made wide. */
function prompt(calibration: Calibration, attention: number): Pick<Rates, "products" | "widening"> {
  const { config, cache: kind } = calibration;
  const parameters = layerParameters(config);
  const count = 2 * (parameters > LARGE_LAYER ? SMALL_PART : PART);
  const tokens = [Array.from({ length: count }, (_, i) => i % NARROW)];
  const models = [ONE, FOUR].map((n_layers) =>
    standIn(config, { n_layers, n_ctx: count, vocabulary: NARROW }, formOf(calibration)),
  ) as [Model, Model];
  const seconds = (model: Model): number => {
    const cache = new KvCache(model.config, { capacity: count, kind });
    const took = timed(() => forward(model, { tokens, cache, logitsAt: "last" }));
    cache.dispose();
    return took;
  };
  const [one, four] = models;
  const widening = typical(() => timed(() => widenBlock(one.weights.blocks[0]!) ?? NOTHING));
  // One after the other, so that a machine that is slow for a while is so for both.
  const layer = typical(() => seconds(four) - seconds(one)) / (FOUR - ONE);
  for (const model of models) model.dispose();
  const beside = widening + (4 * config.d_head * config.n_heads * ((count * (count + 1)) / 2)) / attention;
  return {
    products: (2 * count * parameters) / Math.max(layer - beside, layer / 2, 1e-9),
    widening: parameters / widening,
  };
}

/** FLOP/s of the attention of a part of a prompt over all keys before it. */
function attending({ config, cache: kind }: Calibration): number {
  const { n_heads: heads, n_key_value_heads: kvHeads, d_head } = config;
  const pages = Array.from({ length: kvHeads }, () => Page.make(kind, d_head, KEYS));
  const first = KEYS - PART;
  const positions = tf.tensor2d([Array.from({ length: PART }, (_, i) => first + i)], [1, PART], "int32");
  const q = tf.randomNormal([PART, heads, d_head]);
  const layer = tf.scalar(0, "int32");
  const places = placesOf([[pages.map((page) => ({ spans: [{ page, row: 0, position: 0, count: KEYS }] }))]]);
  const took = typical(() => timed(() => attend({ q, positions, layer, ...places, scale: config.attn_scale })));
  tf.dispose([positions, q, layer, places.lists, places.spans]);
  for (const page of pages) page.release();
  const pairs = (PART * (first + 1 + KEYS)) / 2;
  return (4 * d_head * heads * pairs) / took;
}

/** Bytes a second that reach the disk. Reading is not measured: what was just written comes from memory. */
async function writeDisk(): Promise<number> {
  const path = join(tmpdir(), `headscope-disk-${randomBytes(6).toString("hex")}`);
  const file = await open(path, "wx");
  try {
    const content = Buffer.alloc(DISK, 7);
    const began = performance.now();
    await file.writeFile(content);
    await file.sync();
    return DISK / ((performance.now() - began) / 1000);
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

/** The kernels' form of a matrix by its name. */
function formOf({ weights, memory: { q8Formats } }: Calibration): (name: string) => FormatName {
  return (name) => (weights === "q8" ? (q8Formats[name] ?? "f32") : weights);
}

/** Seconds of an op or a forward, which have ended when they return; logits are also read. */
function timed(run: () => { dispose(): void; readonly logits?: Tensor | undefined }): number {
  const began = performance.now();
  const result = run();
  result.logits?.dataSync();
  const took = (performance.now() - began) / 1000;
  result.dispose();
  return took;
}

/** The median of some runs behind one that does not count. */
function typical(run: () => number): number {
  run();
  return median(Array.from({ length: REPEATS }, run));
}
