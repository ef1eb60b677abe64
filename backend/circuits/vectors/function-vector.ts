import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";
import { rankTable } from "../../common/heads/table.ts";
import { ANYTHING, checkOptions, FUNCTION, type Rules, whole } from "../../common/options.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import { headShape } from "../../models/config.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Model } from "../../models/model.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { parameter } from "../../models/weights/parameters.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches } from "../batches.ts";
import type { VectorCase } from "./cases.ts";

/** A question about the heads that carry a task's function. */
export interface FunctionVectorOptions {
  cases: readonly VectorCase[];
  /** Heads whose outputs make the vector. Default 10, or all there are. */
  top?: number;
  /** Layers behind which the vector is added to the zero-shot prompts. Default a third of the way up. */
  layers?: readonly number[];
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between the layers of a case. */
  turn?: Turn;
}

const OPTIONS: Rules<FunctionVectorOptions> = {
  cases: { wants: "a list of cases", fits: (cases) => Array.isArray(cases) && cases.length > 0 },
  top: whole(1),
  layers: { wants: "a list of layers", fits: Array.isArray },
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** Answers to the zero-shot prompts of all cases. */
export interface ZeroShot {
  /** Mean probability of the right answer. */
  readonly probability: number;
  /** By case, how many tokens have a larger logit than the answer. */
  readonly ranks: readonly number[];
}

/** The heads that carry a task's function, and the vector of it. */
export interface FunctionVector {
  /** By case, each head's indirect effect: the answer's probability with its mean output less that without [cases][layers][heads]. */
  effects: number[][][];
  /** Heads of the largest mean effects, LAYER.HEAD, best first. */
  top: string[];
  /** Sum of what these heads write, as a mean over the clean prompts [d_model]. */
  vector: number[];
  /** The answer's probability, unpatched. */
  perCase: { clean: number; shuffled: number }[];
  /** By layer behind which the vector is added, and "none". */
  zeroShot: Record<string, ZeroShot>;
}

/**
 * Function vectors: the heads whose mean output over the clean prompts, put into the shuffled ones, brings the right answer back, and
 * the sum of what the best of them write, added to prompts without demonstrations. All of it at the last position.
 * @throws HeadscopeError for options that do not exist or do not fit, layers that the model lacks, and logits that are no numbers
 * @see Todd et al. 2024, Function Vectors in Large Language Models
 */
export async function functionVector(model: Model, options: FunctionVectorOptions): Promise<FunctionVector> {
  checkOptions("functionVector", options, OPTIONS, ["cases"]);
  const { n_layers, n_heads } = model.config;
  const { cases, layers = [defaultLayer(n_layers)], progress, signal } = options;
  for (const layer of layers) checkLayer(model.config, layer);
  const all = n_layers * n_heads;
  const count = options.top ?? Math.min(DEFAULT_TOP, all);
  if (count > all)
    throw new HeadscopeError("usage", `there are no ${count} heads to choose`, { remedy: `give at most ${all}` });
  const work: Work = { turn: options.turn ?? loopTurn(signal), onLayer: () => signal?.throwIfAborted() };
  const label = "function vector, runs";
  const total = 3 * cases.length;
  const { z, probabilities } = await cleanMeans(model, cases, work, (done) => progress?.(done, total, label));
  try {
    const effects: number[][][] = [];
    const perCase: FunctionVector["perCase"] = [];
    for (const [c, one] of cases.entries()) {
      const { shuffled, patched } = await patchCase(model, one, z, work);
      effects.push(patched.map((row) => row.map((probability) => probability - shuffled)));
      perCase.push({ clean: probabilities[c]!, shuffled });
      progress?.(cases.length + c + 1, total, label);
    }
    const mean = effects[0]!.map((row, l) =>
      row.map((_, h) => effects.reduce((sum, table) => sum + table[l]![h]!, 0) / effects.length),
    );
    const heads = rankTable(mean).slice(0, count);
    const vector = writtenBy(model, heads, z);
    const zeroShot = await zeroShots(model, cases, { vector, layers, ...work });
    progress?.(total, total, label);
    return { effects, top: heads.map(formatHead), vector, perCase, zeroShot };
  } finally {
    tf.dispose(z);
  }
}

/** Heads of a function vector unless told otherwise. */
export const DEFAULT_TOP = 10;

/** The layer behind which a function vector is added unless told otherwise: a third of the way up, where Todd et al. find it works. */
export function defaultLayer(layers: number): number {
  return Math.floor(layers / 3);
}

interface Work {
  readonly turn: Turn;
  readonly onLayer: () => void;
}

/** Each layer's mean head outputs at the clean prompts' last positions [1, 1, heads, d_head], and the answers' probabilities. */
async function cleanMeans(
  model: Model,
  cases: readonly VectorCase[],
  { turn, onLayer }: Work,
  onCase: (done: number) => void,
): Promise<{ z: Tensor[]; probabilities: number[] }> {
  const { n_layers, n_heads } = model.config;
  const { valueWidth } = headShape(model.config);
  const names = Array.from({ length: n_layers }, (_, layer) => blockHook(layer, "attn.hook_z"));
  let z = names.map(() => tf.zeros([1, 1, n_heads, valueWidth]));
  const probabilities: number[] = [];
  for (const { clean, answer } of cases) {
    const run = await forwardInTurns(model, { tokens: [clean], logitsAt: "last" }, { names, onLayer }, turn);
    const next = tf.tidy(() =>
      z.map((sum, layer) => {
        const own = tf.slice(run.activations.get(names[layer]!)!, [0, clean.length - 1, 0, 0], [1, 1, -1, -1]);
        return tf.add(sum, tf.div(own, cases.length));
      }),
    );
    probabilities.push(...answers(model, run.logits!, answer, clean).map(({ probability }) => probability));
    run.dispose();
    tf.dispose(z);
    z = next;
    onCase(probabilities.length);
    await turn();
  }
  return { z, probabilities };
}

/** The answer's probability after the shuffled prompt, and with each head's mean output at its end [layers][heads]. */
async function patchCase(
  model: Model,
  { shuffled: prompt, answer }: VectorCase,
  z: readonly Tensor[],
  { turn, onLayer }: Work,
): Promise<{ shuffled: number; patched: number[][] }> {
  const { n_layers } = model.config;
  const names = Array.from({ length: n_layers }, (_, layer) => blockHook(layer, "hook_resid_pre"));
  const base = await forwardInTurns(model, { tokens: [prompt], logitsAt: "last" }, { names, onLayer }, turn);
  try {
    const [{ probability: shuffled }] = answers(model, base.logits!, answer, prompt) as [Answer];
    const patched: number[][] = [];
    for (let layer = 0; layer < n_layers; layer++) {
      const stream = base.activations.get(names[layer]!)!;
      patched.push(await patchLayer(model, { stream, mean: z[layer]!, layer, answer, prompt }, { turn, onLayer }));
      await turn();
    }
    return { shuffled, patched };
  } finally {
    base.dispose();
  }
}

interface LayerPatch {
  /** Before the layer [1, positions, d_model]. */
  readonly stream: Tensor;
  /** [1, 1, heads, d_head] */
  readonly mean: Tensor;
  readonly layer: number;
  readonly answer: number;
  readonly prompt: readonly number[];
}

/** The answer's probability with each head of a layer patched at the last position; heads are rows of a batch. */
async function patchLayer(
  model: Model,
  { stream, mean, layer, answer, prompt }: LayerPatch,
  { turn, onLayer }: Work,
): Promise<number[]> {
  const { n_heads: H } = model.config;
  const T = prompt.length;
  const values: number[] = [];
  for (const { first, count, size } of evenBatches(H, T)) {
    const { change, resid } = tf.tidy(() => {
      const mask = new Float32Array(size * T * H);
      for (let i = 0; i < size; i++) mask[(i * T + T - 1) * H + Math.min(first + i, H - 1)] = 1;
      const change = replaceWhere(tf.tensor4d(mask, [size, T, H, 1]), mean);
      return { change, resid: tf.tile(stream, [size, 1, 1]) };
    });
    try {
      const input = { resid, startLayer: layer, logitsAt: "last" } as const;
      const interventions = new Map([[blockHook(layer, "attn.hook_z"), change]]);
      const run = await forwardInTurns(model, input, { interventions, onLayer }, turn);
      const found = answers(model, run.logits!, answer, prompt).map(({ probability }) => probability);
      values.push(...found.slice(0, count));
      run.dispose();
    } finally {
      tf.dispose([change.gain, change.bias, resid]);
    }
  }
  return values;
}

/** Sum of what heads write to the stream: mean z W_O without b_O [d_model]. */
function writtenBy(model: Model, heads: readonly Head[], z: readonly Tensor[]): number[] {
  const sum = tf.tidy(() =>
    tf.addN(
      heads.map(({ layer, head }) => {
        const own = tf.reshape(tf.slice(z[layer]!, [0, 0, head, 0], [1, 1, 1, -1]), [1, -1]);
        const W_O = tf.squeeze(tf.slice(parameter(model, blockHook(layer, "attn.W_O")), head, 1), [0]);
        return tf.matMul(own, W_O as ReturnType<typeof tf.tensor2d>);
      }),
    ),
  );
  const vector = [...sum.dataSync()];
  sum.dispose();
  return vector;
}

/** The zero-shot prompts' answers, as they are and with the vector added behind each layer at the last position. */
async function zeroShots(
  model: Model,
  cases: readonly VectorCase[],
  { vector, layers, turn, onLayer }: Work & { vector: readonly number[]; layers: readonly number[] },
): Promise<Record<string, ZeroShot>> {
  const found = new Map<string, Answer[]>();
  const keep = (name: string, some: readonly Answer[]) => found.set(name, [...(found.get(name) ?? []), ...some]);
  for (const { zero, answer } of cases) {
    const names = layers.map((layer) => blockHook(layer, "hook_resid_post"));
    const base = await forwardInTurns(model, { tokens: [zero], logitsAt: "last" }, { names, onLayer }, turn);
    try {
      keep("none", answers(model, base.logits!, answer, zero));
      for (const [i, layer] of layers.entries()) {
        const resid = tf.tidy(() => addedAtEnd(base.activations.get(names[i]!)!, vector));
        const input = { resid, startLayer: layer + 1, logitsAt: "last" } as const;
        const run = await forwardInTurns(model, input, { onLayer }, turn);
        resid.dispose();
        keep(String(layer), answers(model, run.logits!, answer, zero));
        run.dispose();
      }
    } finally {
      base.dispose();
    }
    await turn();
  }
  return Object.fromEntries(
    [...found].map(([name, some]) => [
      name,
      {
        probability: some.reduce((sum, { probability }) => sum + probability, 0) / some.length,
        ranks: some.map(({ rank }) => rank),
      },
    ]),
  );
}

/** A stream with a vector added at its last position. @param stream [1, positions, d_model] */
function addedAtEnd(stream: Tensor, vector: readonly number[]): Tensor {
  const [, positions, width] = stream.shape as [number, number, number];
  const added = tf.tensor3d([...vector], [1, 1, width]);
  return tf.add(stream, tf.pad(added, [[0, 0], [positions - 1, 0], [0, 0]])); // biome-ignore format: one line
}

/** A token as an answer: its probability, and how many tokens have a larger logit. */
interface Answer {
  readonly probability: number;
  readonly rank: number;
}

/**
 * A token as the answer of each row.
 * @param logits [rows, 1, d_vocab]
 * @throws HeadscopeError (input) for logits that are no numbers
 */
function answers(model: Model, logits: Tensor, token: number, prompt: readonly number[]): Answer[] {
  const values = logits.dataSync();
  const { d_vocab } = model.config;
  if (!allFinite(values)) throw notFinite(model, "the logits", [prompt]);
  return Array.from({ length: logits.shape[0]! }, (_, row) => {
    const own = values.subarray(row * d_vocab, (row + 1) * d_vocab);
    const logit = own[token]!;
    let [sum, rank] = [0, 0];
    for (const other of own) {
      sum += Math.exp(other - logit);
      if (other > logit) rank++;
    }
    return { probability: 1 / sum, rank };
  });
}
