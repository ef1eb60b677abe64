import { type ModelConfig, outputWidth } from "../../models/config.ts";
import { parametersOf } from "../../models/weights/trainable.ts";
import type { Device } from "./devices.ts";
import type { Footprint, RequestSize } from "./footprint.ts";
import type { OwnWork } from "./own-work.ts";

/** A model as its cost depends on it. */
export interface CostModel {
  readonly config: ModelConfig;
  /** Numbers in the model. */
  readonly parameters: number;
  /** Bytes of the weights as they are held. */
  readonly weightBytes: number;
  /** True where products of a prompt make weights wide first. */
  readonly narrow: boolean;
}

/** A request, what it holds, and the work of choosing it where that was measured. */
export interface CostedRequest extends RequestSize {
  readonly held: Footprint;
  readonly work?: OwnWork | undefined;
}

/** Memory and time of requests of one kind on a device. Times in seconds. */
export interface Cost {
  readonly weightBytes: number;
  /** Keys and values of one request behind its last token. */
  readonly cacheBytes: number;
  /** Most bytes of them at a time, while the prompt is read too. */
  readonly peakBytes: number;
  /** Requests that fit beside the weights; 0 where not one does. */
  readonly concurrency: number;
  readonly prefill: { readonly flops: number; readonly seconds: number };
  /** Of a token of one request: bytes of weights, keys and values that it reads. */
  readonly decode: { readonly bytes: number; readonly seconds: number };
  /** New tokens a second of as many requests as fit, decoded together. */
  readonly throughput: number;
  /** Moving a request's keys and values to the slow memory, or back. */
  readonly contextSwitch: { readonly bytes: number; readonly seconds: number };
  /**
   * A token whose keys and values lie in the slow memory, together with the weights that the device's memory has no room for: what is
   * fetched of them, and its whole time.
   */
  readonly offload: { readonly bytes: number; readonly seconds: number };
}

/**
 * Predicts memory and time by counting bytes and operations: Fu 2024, Challenges in Deploying Long-Context Transformers; offload as in
 * LLM in a flash (Alizadeh et al. 2023) and InstInfer (Pan et al. 2024), whose transfers are not overlapped here.
 */
export function predict(model: CostModel, device: Device, request: CostedRequest): Cost {
  const { config, weightBytes } = model;
  const { rates, memory, slow } = device;
  const { tokens, held, work = NO_WORK } = request;
  const layers = config.n_layers;
  const read = readWeights(model);
  const overhead = layers * rates.layer + rates.token;
  const decodeSeconds = read / rates.weights + held.readBytes / rates.keys + overhead + work.token;
  const concurrency = Math.max(0, Math.floor((memory - weightBytes) / held.bytes));
  const flops = prefillFlops(config, tokens, held.pairs);
  const prefill = prefillSeconds(model, device, flops, read / rates.weights) + overhead + work.prompt;
  const excess = Math.min(read, Math.max(0, weightBytes - memory));
  const fetched = held.readBytes + excess;
  const products = (2 * concurrency * usedParameters(config)) / rates.products;
  const each = held.readBytes / rates.keys + work.token;
  const together = Math.max(read / rates.weights, products) + overhead + concurrency * each;
  return {
    weightBytes,
    cacheBytes: held.bytes,
    peakBytes: Math.max(held.bytes, held.peakBytes),
    concurrency,
    prefill: { flops: flops.products + flops.attention, seconds: prefill },
    decode: { bytes: read + held.readBytes, seconds: decodeSeconds },
    throughput: concurrency === 0 ? 0 : concurrency / together,
    contextSwitch: { bytes: held.bytes, seconds: held.bytes / slow.bandwidth },
    offload: {
      bytes: fetched,
      seconds: (read - excess) / rates.weights + fetched / slow.bandwidth + overhead + work.token,
    },
  };
}

const NO_WORK: OwnWork = { prompt: 0, token: 0 };

/** Bytes of the weights that a token reads: of an embedding that is not the unembedding one row, which counts nothing. */
export function readWeights({ config, parameters, weightBytes }: Omit<CostModel, "narrow">): number {
  return weightBytes * Math.min(1, usedParameters(config) / parameters);
}

/** Parameters that a token is multiplied with: of the layers and of the unembedding. */
function usedParameters(config: ModelConfig): number {
  return config.n_layers * layerParameters(config) + config.d_model * outputWidth(config);
}

/** Parameters of a layer. */
export function layerParameters(config: ModelConfig): number {
  const [none, one] = [0, 1].map((n_layers) => parametersOf({ ...config, n_layers })) as [number, number];
  return one - none;
}

/** Operations of a prompt, a multiplication and an addition being two: with the layers' weights, the last token's logits, and attention. */
function prefillFlops(config: ModelConfig, tokens: number, pairs: number): { products: number; attention: number } {
  const { n_layers, d_model, d_head } = config;
  return {
    products: 2 * tokens * n_layers * layerParameters(config) + 2 * d_model * outputWidth(config),
    attention: 4 * d_head * pairs,
  };
}

/** A prompt takes its operations, and at least a look at the weights. */
function prefillSeconds(
  { config, narrow }: CostModel,
  { rates }: Device,
  { products, attention }: { products: number; attention: number },
  look: number,
): number {
  const wide = narrow ? (config.n_layers * layerParameters(config)) / rates.widening : 0;
  return Math.max(products / rates.products, look) + wide + attention / rates.attention;
}
