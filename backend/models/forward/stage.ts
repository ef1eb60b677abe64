import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import type { Activations } from "../../common/words.ts";
import { functions } from "../../runtime/capture.ts";
import type { Handle } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { Hook } from "../transformer/hook.ts";
import { isPattern } from "../transformer/hook-points.ts";
import { type Flat, flatten } from "../weights/weights.ts";
import type { Affine, HookFunction } from "./types.ts";

/** Requests at the hook points of one stage of a block. */
export interface StageRequests {
  /** Names of activations to hand out, in their order in the computation. */
  wanted: readonly string[];
  affine: ReadonlyMap<string, Affine>;
  hooks: ReadonlyMap<string, readonly PointFunction[]>;
}

/** A user's function at one hook point, checked: it gives what takes the activation's place. */
export type PointFunction = (activation: Tensor) => Tensor;

/** Shape of a chunk: flat tensors are [rows * tokens, ...]. */
export interface Extent {
  rows: number;
  tokens: number;
}

/** A step of the forward: a pure function of tensors and weights. */
export interface Stage<W> {
  /** Names the captured function; with the shapes it must determine what is computed. */
  key: string;
  extent: Extent;
  tensors: Tensor[];
  weights: Flat<W>;
  requests: StageRequests;
  /** Compile with XLA, unless the kernels multiply in it. */
  xla: boolean;
  /** False runs it op by op. */
  captured: boolean;
  /** Of products with packed matrices. Default "exact". */
  activations?: Activations | undefined;
  body(tensors: Tensor[], weights: W, hook: Hook): Tensor[];
}

/** The weights of a stage that has none. */
export const NO_WEIGHTS: Flat<object> = flatten({});

/** Results of a stage, and the activations that were wanted: [rows, tokens, ...], or [rows, heads, query, key]. */
export interface StageResult {
  out: Tensor[];
  activations: Tensor[];
}

/** Runs a stage as one captured function; with a user's JavaScript hooks op by op, since those can't be captured. */
export function runStage<W>(stage: Stage<W>): StageResult {
  const { requests, weights, tensors, extent, activations } = stage;
  if (!stage.captured || requests.hooks.size > 0) {
    const collecting = collectingHook(extent, requests);
    const out = stage.body(tensors, weights.over(weights.handles, activations), collecting.hook);
    return { out, activations: collecting.collected() };
  }
  const points = [...requests.affine.keys()];
  const changes = [...requests.affine.values()].flatMap(({ gain, bias }) => [gain, bias]);
  const inputs: Handle[] = [...tensors, ...changes, ...weights.handles];
  const shapes = [...tensors, ...changes].map((t) => t.shape.join("x")).join(",");
  const { key } = stage;
  const xla = stage.xla && !weights.packed;
  const rounded = weights.packed && activations === "8bit";
  const full = [
    ...[key, extent.rows, shapes, weights.key, requests.wanted.join("+"), points.join("+"), xla],
    ...(rounded ? [activations] : []),
  ].join("|");
  const body = (...args: Handle[]): Tensor[] => {
    const own = args.slice(0, tensors.length) as Tensor[];
    const changed = args.slice(tensors.length, tensors.length + changes.length) as Tensor[];
    const affine = new Map(points.map((p, i) => [p, { gain: changed[2 * i]!, bias: changed[2 * i + 1]! }]));
    const collecting = collectingHook(extent, { wanted: requests.wanted, affine, hooks: new Map() });
    const read = weights.over(args.slice(tensors.length + changes.length), activations);
    return [...stage.body(own, read, collecting.hook), ...collecting.collected()];
  };
  const fn = functions.get(
    full,
    body,
    () => inputs,
    () => ({ name: key.split("|")[0]!, xla }),
  );
  const results = fn.run(inputs);
  const outputs = results.length - requests.wanted.length;
  return { out: results.slice(0, outputs), activations: results.slice(outputs) };
}

/** The hook points of a stage: they apply interventions, then hooks, and collect what is wanted. */
export function collectingHook(
  { rows, tokens }: Extent,
  { wanted, affine, hooks }: StageRequests,
): { hook: Hook; collected(): Tensor[] } {
  const collected = new Map<string, Tensor>();
  const changes = (name: string): boolean => affine.has(name) || hooks.has(name);
  const wants = (name: string): boolean => wanted.includes(name) || changes(name);
  const point = (name: string, activation: Tensor, settle = (changed: Tensor) => changed): Tensor => {
    if (!wants(name)) return activation;
    const flat = activation.shape;
    const change = affine.get(name);
    let view = isPattern(name) ? activation : tf.reshape(activation, [rows, tokens, ...flat.slice(1)]);
    if (change) view = tf.add(tf.mul(view, change.gain), change.bias);
    for (const hook of hooks.get(name) ?? []) view = hook(view);
    if (changes(name)) view = settle(view);
    if (wanted.includes(name)) collected.set(name, view);
    return isPattern(name) ? view : tf.reshape(view, flat);
  };
  return {
    hook: Object.assign(point, { changes, wants }),
    collected: () => wanted.map((name) => collected.get(name)!),
  };
}

/** An activation after a hook. @throws HeadscopeError (usage) for what can't take its place, naming the hook point */
export function hooked(hook: HookFunction, activation: Tensor, name: string, starts: readonly number[]): Tensor {
  const result: unknown = hook(activation, name, starts);
  const refuse = (what: string): HeadscopeError =>
    new HeadscopeError("usage", `the hook at ${name} gave ${what}, and the activation is [${activation.shape}]`, {
      remedy: "return a tensor of that shape, or nothing to leave it as it is",
    });
  if (result === undefined && !activation.isDisposed) return activation;
  if (result === undefined) throw refuse("nothing, after freeing the activation");
  if (!(result instanceof tf.Tensor))
    throw refuse(result instanceof Promise ? "a promise" : result === null ? "null" : `a ${typeof result}`);
  if (result.isDisposed) throw refuse("a tensor that is freed already");
  const shape: readonly number[] = result.shape;
  if (shape.length !== activation.shape.length || shape.some((n, axis) => n !== activation.shape[axis]))
    throw refuse(`a tensor [${shape}]`);
  if (result.dtype === activation.dtype) return result;
  if (result.dtype === "string" || result.dtype === "complex64") throw refuse(`a tensor of ${result.dtype}`);
  return tf.cast(result, activation.dtype);
}
