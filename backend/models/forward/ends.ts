import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { gatherRows, hasNative } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { mostPositions, outputWidth } from "../config.ts";
import { unembed } from "../transformer/block.ts";
import { finalHookNames } from "../transformer/hook-points.ts";
import type { Matrix } from "../weights/matrix.ts";
import { type Flat, flatten, flattenEnd } from "../weights/weights.ts";
import { sliceAffine } from "./chunks.ts";
import type { ForwardPass, Rotations, Stream } from "./pass.ts";
import { bucket, type Chunk } from "./plan.ts";
import { NO_WEIGHTS, runStage } from "./stage.ts";
import type { Affine, ForwardInput } from "./types.ts";

type LogitsAt = NonNullable<ForwardInput["logitsAt"]>;

/** The residual stream at the start of a chunk [rows * tokens, d_model], and the rotation of its positions. */
export function embed(pass: ForwardPass, chunk: Chunk): Stream {
  const { model, input } = pass;
  const { config, weights } = model;
  const { positions, length } = positionsOf(pass, chunk);
  const rotation = rotationsAt(pass, chunk, positions, length);
  if (input.resid) return { x: chunkOf(input.resid, pass, chunk), rotation };
  const { posEmbed, embedBias, softPrompt } = weights;
  const count = config.soft_prompt ?? 0;
  const read = input.inputs
    ? chunkOf(
        tf.pad(input.inputs, [
          [0, 0],
          [count, 0],
          [0, 0],
        ]),
        pass,
        chunk,
      )
    : tokenGrid(pass, chunk, (r, t) => input.tokens![r]![t - count] ?? 0);
  const parts = {
    embed: weights.embed,
    ...(embedBias ? { bias: embedBias } : {}),
    ...(posEmbed ? { posEmbed } : {}),
    ...(softPrompt ? { softPrompt } : {}),
  };
  // By position, its place among the learned ones, and its vector of the prompt; `count` behind them.
  const learned = softPrompt
    ? tokenGrid(pass, chunk, (_, t) => Math.max(0, Math.min(t, mostPositions(config) - 1) - count))
    : positions;
  const vector = softPrompt ? [tokenGrid(pass, chunk, (_, t) => Math.min(t, count))] : [];
  const [x] = pass.stage(
    {
      key: `embed|${config.embed_scale ?? 1}|${posEmbed ? "learned" : ""}${input.inputs ? "|vectors" : ""}${count}`,
      tensors: [read, ...(posEmbed ? [learned] : []), ...vector],
      weights: flatten(parts) as Flat<Embeddings>,
      xla: false,
      body: ([ids, ...rest], w, hook) => {
        const [positions, vector] = w.posEmbed ? rest : [undefined, ...rest];
        const vectors = w.bias ? tf.add(w.embed.apply(ids!), w.bias) : w.embed.rows(ids!);
        const scaled = config.embed_scale === undefined ? vectors : tf.mul(vectors, config.embed_scale);
        const prompt = w.softPrompt && promptAt(w.softPrompt, vector!, count);
        const x = hook("hook_embed", prompt ? tf.where(prompt.inside, prompt.vectors, scaled) : scaled);
        if (!w.posEmbed) return [x];
        const own = w.posEmbed.rows(positions!);
        return [tf.add(x, hook("hook_pos_embed", prompt ? tf.where(prompt.inside, tf.zerosLike(own), own) : own))];
      },
    },
    chunk,
    { prefix: "", names: ["hook_embed", "hook_pos_embed"] },
  );
  return { x: x!, rotation };
}

/**
 * The vectors of a soft prompt at every position.
 * @param places of the vectors, `count` and more behind them, int32 [tokens]
 * @returns where the prompt is, and its vectors there [tokens, d_model] each
 */
function promptAt(prompt: Matrix, places: Tensor, count: number): { inside: Tensor; vectors: Tensor } {
  const vectors = prompt.rows(tf.minimum(places, tf.scalar(count - 1, "int32")));
  const inside = tf.less(tf.expandDims(places, 1), tf.scalar(count, "int32"));
  return { vectors, inside: tf.broadcastTo(inside, vectors.shape) };
}

/** The weights before the blocks. */
interface Embeddings {
  embed: Matrix;
  bias?: Tensor;
  posEmbed?: Matrix;
  softPrompt?: Matrix;
}

/** A number for every token of a chunk, padding included, int32 [rows * tokens]. */
function tokenGrid({ plan }: ForwardPass, chunk: Chunk, value: (row: number, position: number) => number): Tensor {
  const flat = Int32Array.from({ length: plan.rows * chunk.tokens }, (_, i) =>
    value(Math.floor(i / chunk.tokens), chunk.first + (i % chunk.tokens)),
  );
  return tf.tensor1d(flat, "int32");
}

/** Positions of a chunk's tokens in the sequence, int32 [rows * tokens], and how many positions that takes. */
function positionsOf(pass: ForwardPass, chunk: Chunk): { positions: Tensor; length: number } {
  const { model, input, plan } = pass;
  let length = 0;
  const positions = tokenGrid(pass, chunk, (r, t) => {
    const position = Math.min(
      (input.positions ?? input.places)?.[r]?.[t] ?? plan.starts[r]! + t,
      mostPositions(model.config) - 1,
    );
    length = Math.max(length, position + 1);
    return position;
  });
  return { positions, length };
}

/** A chunk of vectors over all positions, padded. @param whole [rows, positions, width] @returns [rows * tokens, width] */
function chunkOf(whole: Tensor, { plan: { rows } }: ForwardPass, { first, real, tokens }: Chunk): Tensor {
  const width = whole.shape[2]!;
  const padded = tf.pad(tf.slice(whole, [0, first, 0], [rows, real, width]), [
    [0, 0],
    [0, tokens - real],
    [0, 0],
  ]);
  return tf.reshape(padded, [rows * tokens, width]);
}

/** Rotations of the positions. @param length positions that the tables must hold */
function rotationsAt(pass: ForwardPass, chunk: Chunk, positions: Tensor, length: number): Rotations {
  const { model } = pass;
  const { rotary_dim, rotary_local } = model.config;
  const rotation = (local: boolean): Tensor[] => {
    const tables = model.rotaryUpTo(length, local);
    if (!tables) return [];
    const stage = {
      key: `rotation|${rotary_dim}`,
      tensors: [positions, tables.cos, tables.sin],
      weights: NO_WEIGHTS,
      xla: false,
      body: ([index, cos, sin]: Tensor[]) =>
        [cos!, sin!].map((table) => tf.reshape(gatherRows(table, index!), [-1, 1, rotary_dim])),
    };
    return pass.stage(stage, chunk);
  };
  const global = rotation(false);
  return { global, local: rotary_local ? rotation(true) : global };
}

/** Positions of one row whose logits are wanted. @param total of the longest row @throws HeadscopeError (usage) for one that the row does not have */
export function logitPositions(
  wanted: Exclude<LogitsAt, "none">,
  length: number,
  { row, total }: { row: number; total: number },
): number[] {
  // Of all positions those behind a row's end come out as zeros.
  if (wanted === "all") return Array.from({ length: total }, (_, t) => t);
  if (wanted === "last") return [length - 1];
  const beyond = wanted.find((p) => !Number.isInteger(p) || p < -length || p >= length);
  if (beyond === undefined) return wanted.map((p) => (p < 0 ? length + p : p));
  throw new HeadscopeError(
    "usage",
    `logits are asked at position ${beyond} of row ${row}, which has ${length} tokens`,
    {
      remedy: `choose positions from 0 to ${length - 1}, or -1 for the last`,
    },
  );
}

/** An intervention at the final norm, which sees the positions whose logits are wanted. */
function endAffine(affine: Affine, name: string, { input, plan }: ForwardPass): Affine | undefined {
  const tables = [affine.gain, affine.bias].some((t) => (t.shape[1] ?? 1) > 1) || affine.before !== undefined;
  if (!tables) return affine;
  if ((input.logitsAt ?? "all") === "all")
    return sliceAffine(affine, name, { first: 0, real: plan.total, tokens: plan.total }, plan);
  throw new HeadscopeError("usage", `${name} is changed by position, and sees only positions whose logits are wanted`, {
    remedy: "change the last block's hook_resid_post there, or ask for all logits",
  });
}

/** Embeddings of tokens, without positions [padded, d_model]. @param index places in [rows, positions] */
function embeddings({ model, input, plan }: ForwardPass, index: readonly number[], padded: number): Tensor {
  const { embed_scale: scale = 1 } = model.config;
  const ids = index.map((i) => input.tokens![Math.floor(i / plan.total)]![i % plan.total] ?? 0);
  const all = tf.tensor1d([...ids, ...new Array(padded - ids.length).fill(0)], "int32");
  return tf.mul(model.weights.embed.rows(all), scale);
}

/** Logits of the wanted positions [rows, positions, outputs]; undefined where none are. @param resid [rows, positions, d_model] */
export function logitsOf(pass: ForwardPass, resid: Tensor): Tensor | undefined {
  const { model, input, plan, requests } = pass;
  const { config, weights } = model;
  const { rows, total } = plan;
  const { logitsAt = "all" } = input;
  if (logitsAt === "none") return undefined;
  const wanted = plan.lengths.map((length, row) => logitPositions(logitsAt, length, { row, total }));
  const count = wanted[0]!.length;
  const index = wanted.flatMap((row, r) => row.map((p) => r * total + p));
  const padded = bucket(index.length);
  const at = (places: readonly number[]): Tensor =>
    gatherRows(
      tf.reshape(resid, [rows * total, config.d_model]),
      tf.tensor1d([...places, ...new Array(padded - places.length).fill(0)], "int32"),
    );
  const streams = config.bottleneck
    ? tf.concat([at(index.map((i) => (i % total === 0 ? i : i - 1))), embeddings(pass, index, padded)], -1)
    : at(index);
  const names = finalHookNames(config);
  const own = requests.ofStage(
    { prefix: "", names },
    { starts: plan.starts, slice: (affine, name) => endAffine(affine, name, pass) },
  );
  const requested = own.wanted.length + own.affine.size + own.hooks.size > 0;
  const exact = requested ? tf.slice(streams, [0, 0], [index.length, streams.shape[1]!]) : streams;
  const tokens = exact.shape[0]!;
  const dense = weights.unembed.widensFor(tokens) ? weights.unembed.widen() : undefined;
  const { out, activations } = runStage({
    key: `unembed|${model.key}`,
    extent: requested ? { rows, tokens: count } : { rows: 1, tokens },
    tensors: [exact],
    weights: flattenEnd(weights, dense ? weights.unembed.dense(dense) : weights.unembed),
    requests: own,
    xla: hasNative(),
    captured: requests.captured,
    activations: pass.precision,
    body: ([x], w, hook) => [unembed(x!, w, config, hook)],
  });
  pass.collect("", own.wanted, activations, { first: 0, real: count, tokens: count });
  const width = outputWidth(config);
  return tf.reshape(tf.slice(out[0]!, [0, 0], [index.length, width]), [rows, count, width]);
}
