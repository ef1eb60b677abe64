import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { availableParallelism, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { CacheKind, WeightType } from "../../common/words.ts";
import { attend } from "../../kernels/attend.ts";
import { type FormatName, formatOf, packedBytes } from "../../kernels/formats.ts";
import { hasKernels, loadKernels } from "../../kernels/kernels.ts";
import { multiplyRows, PackedMatrix } from "../../kernels/packed-matrix.ts";
import { Page } from "../../kernels/pages.ts";
import { placesOf } from "../../kernels/places.ts";
import { KvCache } from "../../models/cache/kv-cache.ts";
import type { ModelConfig } from "../../models/config.ts";
import { forward } from "../../models/forward/forward.ts";
import { Model } from "../../models/model.ts";
import { availableMemory } from "../../models/sources/memory.ts";
import { parameterLayout, weightsOver } from "../../models/weights/trainable.ts";
import { initBackend } from "../../runtime/backend.ts";
import { uploadBytes } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { type Device, HERE } from "./devices.ts";
import { layerParameters } from "./predict.ts";

/** Parts of a model on which this machine's speeds depend. */
export interface Calibration {
  readonly config: ModelConfig;
  readonly weights: WeightType;
  /** Bytes of its weights by the form that the kernels hold them in. */
  readonly formats: Readonly<Partial<Record<FormatName, number>>>;
  readonly cache: CacheKind;
  readonly signal?: AbortSignal | undefined;
}

/** Bytes of the matrix that products are timed on: more than the processor's caches hold. */
const MATRIX = 96 * 2 ** 20;
/** Weights that are made wide at once, as a layer's are. */
const WIDENED = 2 ** 22;
/** Bytes that are written to the disk and synced. */
const DISK = 64 * 2 ** 20;
/** Tokens of a prompt's part, and keys that its attention is timed over. */
const [PART, KEYS] = [512, 2048] as const;
/** Tokens that the cache holds where reading it is timed, and where it is not. */
const [MANY, FEW] = [4096, 64] as const;
/** Layers of models that only differ in them. */
const [SHALLOW, DEEP] = [2, 10] as const;
/** Width of a model whose matrices cost nothing. */
const NARROW = 64;
/** Times that each thing is done; the median counts, and the first run not at all. */
const REPEATS = 5;

/**
 * Measures this machine for a model of a shape, in some seconds: a product with a matrix that no cache holds, layers without weights to
 * speak of, the same over a long cache, a layer's products with a part of a prompt, its attention, and a file that is synced.
 * No model and no length that is predicted is run.
 * @throws HeadscopeError (unsupported) without native kernels
 */
export async function measureHere(calibration: Calibration): Promise<Device> {
  await initBackend();
  if (!hasKernels())
    throw new HeadscopeError("unsupported", "this machine can't be measured: it has no native kernels", {
      remedy: "run headscope doctor, or give --device one of the table",
    });
  const { signal } = calibration;
  const steps = [decoding, products, prompt, attention] as const;
  const rates: Record<string, number> = {};
  for (const step of steps) {
    signal?.throwIfAborted();
    Object.assign(rates, step(calibration));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { layer, token, keys, weights, widening, part, attending } = rates as Record<string, number>;
  // A part of a prompt is a layer's products and its attention: what is left are the products.
  const { config } = calibration;
  const own = (4 * config.d_head * config.n_heads * ((PART * (PART + 1)) / 2)) / attending!;
  const bandwidth = await writeDisk();
  return {
    name: HERE,
    title: `this machine: ${cpus()[0]?.model ?? process.arch}, ${availableParallelism()} cores, ${loadKernels().why}`,
    memory: availableMemory(),
    rates: {
      weights: weights!,
      keys: keys!,
      products: (2 * PART * layerParameters(config)) / Math.max(part! - own, part! / 2),
      attention: attending!,
      widening: widening!,
      layer: layer!,
      token: token!,
    },
    slow: { name: "the disk, written and synced", bandwidth },
    weights: calibration.weights,
    cache: calibration.cache,
    source: `measured ${new Date().toISOString()}`,
  };
}

/** Seconds of a layer and of a token beside what they read, and bytes of keys and values a second. */
function decoding({ config, cache: kind }: Calibration): { layer: number; token: number; keys: number } {
  const seconds = (n_layers: number, held: number): number => {
    const model = emptyModel({ ...config, ...hollow(config), n_layers });
    const cache = new KvCache(model.config, { capacity: held + 4 * REPEATS + 8, kind });
    cache.prepare(held);
    cache.advance(held);
    const step = () => timed(() => forward(model, { tokens: [[1]], cache, logitsAt: "last" }));
    const took = typical(() => (step() + step() + step()) / 3);
    cache.dispose();
    model.dispose();
    return took;
  };
  const [shallow, deep, long] = [seconds(SHALLOW, FEW), seconds(DEEP, FEW), seconds(DEEP, MANY)];
  const layer = Math.max(0, (deep - shallow) / (DEEP - SHALLOW));
  const page = Page.make(kind, config.d_head, 1);
  const read = DEEP * config.n_key_value_heads * (MANY - FEW) * 2 * page.rowBytes;
  page.release();
  return { layer, token: Math.max(0, shallow - SHALLOW * layer), keys: read / Math.max(long - deep, 1e-9) };
}

/** Bytes of weights a second that a vector's products read, and weights a second that are made wide. */
function products({ config, formats }: Calibration): { weights: number; widening: number } {
  const width = 32 * Math.ceil(config.d_model / 32);
  let [all, seconds, numbers, widening] = [0, 0, 0, 0];
  for (const [name, bytes] of Object.entries(formats) as [FormatName, number][]) {
    const rates = name === "f32" ? rowsRate(width) : packedRates(name, width);
    const count = (bytes * 16 * width) / packedBytes(name, [16, width]);
    all += bytes;
    seconds += bytes / rates.bytes;
    numbers += count;
    widening += count / rates.widening;
  }
  return { weights: all / seconds, widening: numbers / widening };
}

/** Of float32 rows as they lie, which nothing has to be made wide of. */
function rowsRate(width: number): { bytes: number; widening: number } {
  const rows = Math.floor(MATRIX / width / 4);
  const [x, w] = [tf.randomNormal([1, width]), tf.randomNormal([rows, width])];
  const took = typical(() => timed(() => multiplyRows(x, w)));
  tf.dispose([x, w]);
  return { bytes: (4 * rows * width) / took, widening: Number.POSITIVE_INFINITY };
}

function packedRates(format: FormatName, width: number): { bytes: number; widening: number } {
  const x = tf.randomNormal([1, width]);
  const matrix = constantMatrix(format, [16 * Math.floor(MATRIX / packedBytes(format, [16, width])), width]);
  const took = typical(() => timed(() => matrix.apply(x)));
  const { bytes } = matrix;
  matrix.dispose();
  x.dispose();
  const some = constantMatrix(format, [16 * Math.ceil(WIDENED / width / 16), width]);
  const widening = (some.shape[0] * width) / typical(() => timed(() => some.widen()));
  some.dispose();
  return { bytes: bytes / took, widening };
}

/** A matrix of one number: the time of a product does not depend on them. */
function constantMatrix(format: FormatName, shape: readonly [number, number]): PackedMatrix {
  const [rows, width] = shape;
  const { block = 32, minima, rowsOf, bits, zero = 0 } = formatOf(format);
  if (rowsOf !== undefined && bits > 8)
    return PackedMatrix.fromRows(format, new Uint8Array((rows * width * bits) / 8), shape);
  const codes = uploadBytes(new Uint8Array(rows * width).fill(1), [rows, width]);
  const scales = tf.fill([rows, width / block], 1 / 128);
  try {
    return PackedMatrix.fromCodes(format, { codes, scales, minima: minima ? scales : undefined, zero }, shape);
  } finally {
    codes.dispose();
    scales.dispose();
  }
}

/** Seconds that a layer takes for a part of a prompt, its attention included. */
function prompt({ config, cache: kind }: Calibration): { part: number } {
  const tokens = [Array.from({ length: PART }, (_, i) => i % NARROW)];
  const seconds = (n_layers: number): number => {
    const model = emptyModel({ ...config, n_layers, d_vocab: NARROW, ...uncut(config) });
    const took = typical(() => {
      const cache = new KvCache(model.config, { capacity: PART, kind });
      const took = timed(() => forward(model, { tokens, cache, logitsAt: "last" }));
      cache.dispose();
      return took;
    });
    model.dispose();
    return took;
  };
  return { part: Math.max(1e-9, seconds(2) - seconds(1)) };
}

/** FLOP/s of the attention of a part of a prompt over all keys before it. */
function attention({ config, cache: kind }: Calibration): { attending: number } {
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
  return { attending: (4 * d_head * heads * pairs) / took };
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

/** Sizes of a model whose matrices are next to nothing; its heads and their widths stay. */
function hollow(config: ModelConfig): Partial<ModelConfig> {
  return { d_model: NARROW, d_mlp: NARROW, d_vocab: NARROW, ...uncut(config) };
}

/** Positions for what is timed, layers that reach all of them, and as few logits as token ids. */
function uncut({ d_vocab_out }: ModelConfig): Partial<ModelConfig> {
  return {
    n_ctx: 2 * MANY,
    attn_types: new Array<"global">(DEEP).fill("global"),
    ...(d_vocab_out === undefined ? {} : { d_vocab_out: NARROW }),
  };
}

/** A model of small random weights. */
function emptyModel(config: ModelConfig): Model {
  const weights = weightsOver(config, parameterLayout(config), ({ shape }) => tf.randomNormal([...shape], 0, 0.02));
  return new Model({ ref: "calibration", family: "none", digest: `sha256:${"0".repeat(64)}`, config, weights });
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
  return Array.from({ length: REPEATS }, run).sort((a, b) => a - b)[REPEATS >> 1]!;
}
