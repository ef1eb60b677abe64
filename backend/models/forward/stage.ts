import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { functions } from "../../runtime/capture.ts";
import type { Handle } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import type { At } from "../transformer/block.ts";
import { isPattern } from "../transformer/hook-points.ts";
import type { Flat } from "../weights/weights.ts";

/**
 * An intervention on one hook point as the forward computes it: t' = gain · t + bias, each broadcast to the activation.
 * Where the axis of positions (of patterns: queries) or keys is longer than 1 it stands for the positions of the sequence from 0
 * on, whatever a cache holds already; positions beyond it are left as they are.
 */
export interface Affine {
  gain: Tensor;
  bias: Tensor;
  /** Of frozen and patched patterns: queries that there are; running others is refused. */
  queries?: number;
  /** What is done at the same point before it, where the two stand for different positions. */
  before?: Affine;
}

/**
 * A user's function on an activation: returns what takes its place, or nothing. The tensor is freed after the call unless kept.
 * @param starts by row, the position of the sequence at which the activation begins: not 0 over a cache, and in the later parts
 * of an input of more than 512 tokens
 */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook that only looks returns nothing
export type HookFunction = (activation: Tensor, name: string, starts: readonly number[]) => Tensor | undefined | void;

/** What is asked of one stage of a block. */
export interface Requests {
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
  requests: Requests;
  xla: boolean;
  /** False runs it op by op. */
  captured: boolean;
  body(tensors: Tensor[], weights: W, at: At): Tensor[];
}

/** Results of a stage, and the activations that were wanted: [rows, tokens, ...], or [rows, heads, query, key]. */
export interface StageResult {
  out: Tensor[];
  activations: Tensor[];
}

/** Runs a stage as one captured function; with a user's JavaScript hooks op by op, since those can't be captured. */
export function runStage<W>(stage: Stage<W>): StageResult {
  const { requests, weights, tensors, extent } = stage;
  const points = [...requests.affine.keys()];
  if (!stage.captured || requests.hooks.size > 0) {
    const made = collectingAt(extent, requests.wanted, requests.affine, requests.hooks);
    const out = stage.body(tensors, weights.over(weights.handles), made.at);
    return { out, activations: made.collected() };
  }
  const affineTensors = points.flatMap((p) => [requests.affine.get(p)!.gain, requests.affine.get(p)!.bias]);
  const inputs: Handle[] = [...tensors, ...affineTensors, ...weights.handles];
  const shapes = [...tensors, ...affineTensors].map((t) => t.shape.join("x")).join(",");
  const key = [
    stage.key,
    extent.rows,
    shapes,
    weights.key,
    requests.wanted.join("+"),
    points.join("+"),
    stage.xla,
  ].join("|");
  const body = (...args: Handle[]): Tensor[] => {
    const given = args.slice(tensors.length, tensors.length + affineTensors.length) as Tensor[];
    const affine = new Map(points.map((p, i) => [p, { gain: given[2 * i]!, bias: given[2 * i + 1]! }]));
    const made = collectingAt(extent, requests.wanted, affine, new Map());
    const out = stage.body(
      args.slice(0, tensors.length) as Tensor[],
      weights.over(args.slice(tensors.length + given.length)),
      made.at,
    );
    return [...out, ...made.collected()];
  };
  const fn = functions.get(
    key,
    body,
    () => inputs,
    () => ({ name: stage.key.split("|")[0]!, xla: stage.xla }),
  );
  const results = fn.run(inputs);
  const outputs = results.length - requests.wanted.length;
  return { out: results.slice(0, outputs), activations: results.slice(outputs) };
}

/** The hook point of a stage: applies interventions, then hooks, and collects what is wanted. */
export function collectingAt(
  { rows, tokens }: Extent,
  wanted: readonly string[],
  affine: ReadonlyMap<string, Affine>,
  hooks: ReadonlyMap<string, readonly PointFunction[]>,
): { at: At; collected(): Tensor[] } {
  const collected = new Map<string, Tensor>();
  const at = ((name: string, activation: Tensor, settle = (changed: Tensor) => changed): Tensor => {
    const change = affine.get(name);
    const functionsHere = hooks.get(name);
    const keep = wanted.includes(name);
    if (!change && !functionsHere && !keep) return activation;
    const flat = activation.shape;
    let view = isPattern(name) ? activation : tf.reshape(activation, [rows, tokens, ...flat.slice(1)]);
    if (change) view = tf.add(tf.mul(view, change.gain), change.bias);
    for (const hook of functionsHere ?? []) view = hook(view);
    if (change || functionsHere) view = settle(view);
    if (keep) collected.set(name, view);
    return isPattern(name) ? view : tf.reshape(view, flat);
  }) as At;
  at.changes = (name) => affine.has(name) || hooks.has(name);
  at.wants = (name) => wanted.includes(name) || at.changes(name);
  return { at, collected: () => wanted.map((name) => collected.get(name)!) };
}

/** An activation after a hook. @throws HeadscopeError (usage) for what can't take its place, naming the hook point */
export function hooked(hook: HookFunction, activation: Tensor, name: string, starts: readonly number[]): Tensor {
  const given: unknown = hook(activation, name, starts);
  const refuse = (what: string): HeadscopeError =>
    new HeadscopeError("usage", `the hook at ${name} gave ${what}, and the activation is [${activation.shape}]`, {
      remedy: "return a tensor of that shape, or nothing to leave it as it is",
    });
  if (given === undefined && !activation.isDisposed) return activation;
  if (given === undefined) throw refuse("nothing, after freeing the activation");
  if (!(given instanceof tf.Tensor))
    throw refuse(given instanceof Promise ? "a promise" : given === null ? "null" : `a ${typeof given}`);
  if (given.isDisposed) throw refuse("a tensor that is freed already");
  const shape: readonly number[] = given.shape;
  if (shape.length !== activation.shape.length || shape.some((n, axis) => n !== activation.shape[axis]))
    throw refuse(`a tensor [${shape}]`);
  if (given.dtype === activation.dtype) return given;
  if (given.dtype === "string" || given.dtype === "complex64") throw refuse(`a tensor of ${given.dtype}`);
  return tf.cast(given, activation.dtype);
}
