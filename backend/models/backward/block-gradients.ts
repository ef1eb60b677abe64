import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { headShape, localWindow, type ModelConfig } from "../config.ts";
import { runStage, type StageRequests } from "../forward/stage.ts";
import type { Block } from "../transformer/block.ts";
import { blockHook } from "../transformer/hook-points.ts";
import { recurrenceOf, requireAttention } from "../transformer/mixers/index.ts";
import { type BlockTokens, wholeBlock } from "../transformer/whole-block.ts";
import type { BlockWeights } from "../weights/block-parts.ts";
import { flatten } from "../weights/weights.ts";
import type { BackwardContext } from "./context.ts";
import { HEAD_INPUT_HOOKS, headInputGradients, PROJECTED, ungrouped, ungroupedWindows } from "./head-inputs.ts";
import { tapAt, tapped, vectorJacobian } from "./taps.ts";

/** A block to go back through. */
export interface BlockStep {
  layer: number;
  /** Stream before it [rows * tokens, d_model]. */
  x: Tensor;
  /** Gradient with respect to the stream behind it, alike. */
  dy: Tensor;
  weights: BlockWeights;
}

/** Gradients of a block [rows * tokens, ...]: at the stream before it, at names, and at the inputs of heads and MLP. */
export interface BlockGradients {
  x: Tensor;
  names: Tensor[];
  heads?: Tensor | undefined;
  mlp?: Tensor | undefined;
}

/**
 * The vector-Jacobian product of a block as one captured function.
 * @param wants names of hook points, or the inputs of heads (of every query head, also where they share keys) and MLP
 */
export function blockGradients(
  context: BackwardContext,
  { layer, x, dy, weights }: BlockStep,
  wants: readonly string[] | "inputs",
): BlockGradients {
  const { model, input } = context.run;
  const { config } = model;
  const extent = context.extent;
  const requests = context.layerRequests(layer);
  const { names, headInputs } = tapsOf(context, { layer, requests }, wants);
  const local = localWindow(config, layer);
  const recurrence = recurrenceOf(config, layer);
  const windows = input.windows?.[layer];
  const rotation = context.rotation(local !== undefined);
  const flat = flatten(weights);
  const inputs = wants === "inputs";
  const { out } = runStage({
    key: `backward|${model.key}|${recurrence?.name}|${local}|${JSON.stringify(windows ?? [])}|${context.keyMask ? "keys" : ""}|${inputs ? "inputs" : names.join("+")}|${headInputs}`,
    extent,
    tensors: [x, dy, ...rotation, ...(context.keyMask ? [context.keyMask] : [])],
    weights: flat,
    requests,
    xla: hasNative(),
    captured: context.captured,
    body: ([x, dy, ...rest], read, hook) => {
      const [cos, sin] = rest;
      const turn = rotation.length > 0 ? { cos: cos!, sin: sin! } : undefined;
      const own = inputs ? ungrouped(read, config) : { weights: read, config };
      const tokens: BlockTokens = {
        rows: extent.rows,
        positions: extent.tokens,
        keyMask: rest[rotation.length],
        windows: inputs ? ungroupedWindows(windows, config) : windows,
        local,
        recurrence,
      };
      const early = [...(headInputs ? PROJECTED : []), ...(inputs && !config.attn_only ? ["hook_mlp_in"] : [])];
      const behind = new Map(names.map((name) => [name, tapAt(config, name, extent)]));
      const before = new Map(early.map((name) => [name, tapAt(own.config, name, extent)]));
      const taps = { behind, before, functions: context.functionsAt(blockHook(layer, ""), extent) };
      const block: Block = { ...own, hook: tapped(hook, taps) };
      const [dx, ...grads] = vectorJacobian(
        (x) => wholeBlock(block.hook("hook_resid_pre", x), turn, block, tokens),
        [x!, ...behind.values(), ...before.values()],
        dy!,
      ) as [Tensor, ...Tensor[]];
      const projected = grads.slice(names.length, names.length + 3);
      return [
        dx,
        ...grads.slice(0, names.length),
        ...(headInputs ? [headInputGradients(x!, projected, own)] : []),
        ...(inputs && !config.attn_only ? [grads.at(-1)!] : []),
      ];
    },
  });
  const heads = headInputs ? out[1 + names.length] : undefined;
  if (wants === "inputs") return { x: out[0]!, names: [], heads, mlp: config.attn_only ? undefined : out.at(-1)! };
  const at = new Map(names.map((name, i) => [name, out[1 + i]!]));
  return { x: out[0]!, names: wants.map((name) => at.get(name) ?? headInput(name, heads!, config)) };
}

/**
 * The points to tap. Gradients at the heads' inputs follow from those of queries, keys and values, so that no head needs a copy of
 * the stream, unless something is changed there.
 */
function tapsOf(
  { run, functions }: BackwardContext,
  { layer, requests }: { layer: number; requests: StageRequests },
  wants: readonly string[] | "inputs",
): { names: readonly string[]; headInputs: boolean } {
  const { config } = run.model;
  const changed = (name: string): boolean =>
    requests.affine.has(name) || requests.hooks.has(name) || functions.has(blockHook(layer, name));
  const isHeadInput = (name: string): boolean => (HEAD_INPUT_HOOKS as readonly string[]).includes(name);
  const copies = HEAD_INPUT_HOOKS.some(changed);
  const normChanged = ["ln1.hook_scale", "ln1.hook_normalized"].find(changed);
  const refuse = (what: string): HeadscopeError =>
    new HeadscopeError("unsupported", `${what}: layer ${layer} is changed between the stream and its projections`, {
      remedy: "ask for gradients at the heads' inputs of an unchanged layer, or at its queries, keys and values",
    });
  if (wants === "inputs") {
    requireAttention(config, "a gradient at the inputs of heads", [layer]);
    const { queries, keys, values } = headShape(config);
    const grouped = keys !== queries || values !== queries;
    const shared = ["attn.hook_k", "attn.hook_v", "attn.hook_rot_k"].some(changed);
    if (copies || normChanged || (grouped && shared)) throw refuse("no gradients at the inputs of heads");
    return { names: [], headInputs: true };
  }
  if (!wants.some(isHeadInput)) {
    const inside = wants.find((name) => name.startsWith("ln1."));
    if (copies && inside) throw refuse(`no gradient at ${inside}`);
    return { names: wants, headInputs: false };
  }
  if (normChanged || (copies && wants.some((name) => name.startsWith("ln1."))))
    throw refuse("no gradients at the inputs of heads");
  return copies
    ? { names: wants, headInputs: false }
    : { names: wants.filter((name) => !isHeadInput(name)), headInputs: true };
}

/** Gradients at the inputs of some heads [rows * tokens, heads, d_model]. @param all [queries', keys', values' heads, rows * tokens, d_model] */
function headInput(name: string, all: Tensor, config: ModelConfig): Tensor {
  const { queries: H, keys, values } = headShape(config);
  const part = (first: number, heads: number): Tensor => tf.slice(all, [first, 0, 0], [heads, -1, -1]);
  const chosen = (): Tensor => {
    if (name === "hook_q_input") return part(0, H);
    if (name === "hook_k_input") return part(H, keys);
    if (name === "hook_v_input") return part(H + keys, values);
    return tf.addN([part(0, H), part(H, H), part(2 * H, H)]);
  };
  return tf.transpose(chosen(), [1, 0, 2]);
}
