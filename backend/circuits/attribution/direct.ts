import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, listOf, type Rules, whole, YES_OR_NO } from "../../common/options.ts";
import { notFinite } from "../../hooks/finite.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { headShape } from "../../models/config.ts";
import type { Model } from "../../models/model.ts";
import { blockHook, checkLayer, hookNames } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { logitOf } from "../answers.ts";
import { changedRun } from "../changed-run.ts";
import { meanOf } from "../means.ts";
import { positionsIn, type Question, questionNotes, type TokenQuestion, tokenQuestions } from "../questions.ts";
import { type Direction, dot, logitDirection, read, throughMatrix, throughNorm } from "./directions.ts";

export interface AttributeOptions {
  /** Prompts with two answers; of pairs the clean sides. */
  prompts: readonly Question[];
  /** Position whose logits are attributed, negative ones from each prompt's end. Default -1. */
  position?: number;
  /** Layers whose MLP is taken apart into its neurons. Default none. */
  neurons?: readonly number[];
  /** Changes of every run, as data: what is measured is the changed model. Default none. */
  interventions?: readonly Intervention[] | undefined;
  /** For texts: whether BOS comes first. Default: as the tokenizer does. */
  prependBos?: boolean;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between prompts and stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<AttributeOptions> = {
  prompts: ANYTHING,
  position: whole(Number.MIN_SAFE_INTEGER),
  neurons: listOf(whole(0)),
  interventions: { wants: "a list of interventions", fits: Array.isArray },
  prependBos: YES_OR_NO,
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** The share of each part in the logit difference; a part that the model lacks is 0. */
export interface AttributionParts {
  embed: number;
  posEmbed: number;
  /** [layers][heads] */
  heads: number[][];
  /** [layers] */
  mlps: number[];
  /** The bias behind the heads' outputs, with the offset of a norm that stands behind it [layers]. */
  attnBias: number[];
  finalNormBias: number;
  unembedBias: number;
  /** The logit difference behind the soft cap less that before it. */
  softCap: number;
  /** The share that interventions have put into the stream beside the parts; absent without any. */
  interventions?: number;
}

/** One MLP taken apart. */
export interface NeuronParts {
  layer: number;
  /** By neuron [d_mlp]; with `bias` they add up to the MLP's part. */
  values: number[];
  /** The output bias, with the offset of a norm that stands behind it. */
  bias: number;
}

/** Direct logit attribution: means over the prompts. */
export interface Attribution {
  /** logit(answer) - logit(wrong); of several tokens their mean logits. */
  logitDiff: number;
  /** Of all parts; equals `logitDiff` up to rounding. */
  sum: number;
  parts: AttributionParts;
  /** The logit difference that the stream holds at each point, by the scale of the final norm: the parts before it, summed. */
  accumulated: { at: string; value: number }[];
  /** The MLPs that were asked for. */
  neurons?: NeuronParts[];
  /** Doubts about the prompts, such as an answer that the model does not prefer; absent where all is well. */
  notes?: string[];
}

/**
 * Direct logit attribution: what the embedding, every head and every MLP writes into the stream, read by the final norm with the
 * scale of the whole stream and by the unembedding's difference of the two answers. It is linear, so that the parts add up.
 * @throws HeadscopeError for options that do not fit, prompts that `tokenQuestions` refuses, a position or layer that does not
 * exist, readout layers, and logits that are no numbers
 * @see Elhage et al. 2021, A Mathematical Framework for Transformer Circuits; Wang et al. 2023, Interpretability in the Wild
 */
export async function attribute(model: Model, options: AttributeOptions): Promise<Attribution> {
  checkOptions("attribute", options, OPTIONS, ["prompts"]);
  const { position = -1, neurons = [], interventions = [], progress, signal, turn } = options;
  for (const layer of neurons) checkLayer(model.config, layer);
  if (neurons.length > 0 && model.config.attn_only)
    throw new HeadscopeError("usage", "the model has no MLP", { remedy: "leave the neurons out", field: "neurons" });
  const questions = tokenQuestions(model, options.prompts, options);
  const places = positionsIn(questions, position);
  const between = turn ?? loopTurn(signal);
  const results: Attribution[] = [];
  for (const [q, question] of questions.entries()) {
    const onLayer = (layer: number): void => {
      signal?.throwIfAborted();
      const { n_layers } = model.config;
      progress?.(q * n_layers + layer, questions.length * n_layers, "attribution, layers");
    };
    results.push(await attributeOne(model, question, { place: places[q]!, neurons, interventions, onLayer, turn }));
    await between();
  }
  return { ...meanOf(results), ...questionNotes(results.map(({ logitDiff }) => logitDiff)) };
}

interface Part {
  place: number;
  neurons: readonly number[];
  interventions: readonly Intervention[];
  onLayer: (layer: number) => void;
  turn: Turn | undefined;
}

async function attributeOne(
  model: Model,
  question: TokenQuestion,
  { place, neurons, interventions, onLayer, turn }: Part,
): Promise<Attribution> {
  const { config } = model;
  const unembedding = logitDirection(model, question);
  const names = hookNames(model).filter((name) => isRead(name, neurons));
  const run = await changedRun(model, question.clean, interventions, { names, logitsAt: [place], onLayer, turn });
  try {
    const logits = read(() => tf.clone(run.logits!));
    const logitDiff = logitOf(logits, question.answer) - logitOf(logits, question.wrong);
    if (!Number.isFinite(logitDiff)) throw notFinite(model, "the logits", [question.clean]);
    const row = (t: Tensor): Float32Array => read(() => tf.slice(t, [0, place], [1, 1]));
    const written: Written = {
      at: (name) => row(run.activations.get(name)!),
      has: (name) => run.activations.has(name),
    };
    // The final norm sees the wanted position alone.
    const scale = run.activations.get("ln_final.hook_scale")?.dataSync()[0] ?? 1;
    const norm = config.final_norm ? model.weights.lnFinal : undefined;
    const { direction, bias } = throughNorm(unembedding.direction, norm, scale, config);
    const layers = model.weights.blocks.map((_, layer) => layerParts(model, layer, direction, written));
    const end = dot(row(run.resid), direction);
    const linear = end + bias + unembedding.bias;
    const parts: AttributionParts = {
      embed: dot(written.at("hook_embed"), direction),
      posEmbed: written.has("hook_pos_embed") ? dot(written.at("hook_pos_embed"), direction) : 0,
      heads: layers.map(({ heads }) => heads),
      mlps: layers.map(({ mlp }) => mlp),
      attnBias: layers.map(({ attnBias }) => attnBias),
      finalNormBias: bias,
      unembedBias: unembedding.bias,
      softCap: config.output_logits_soft_cap === undefined ? 0 : logitDiff - linear,
    };
    if (interventions.length > 0) parts.interventions = linear + parts.softCap - sumOf(parts);
    const streams = names.filter((name) => /hook_resid_(pre|mid)$/.test(name));
    return {
      logitDiff,
      sum: sumOf(parts),
      parts,
      accumulated: [
        ...streams.map((at) => ({ at, value: dot(written.at(at), direction) })),
        { at: blockHook(config.n_layers - 1, "hook_resid_post"), value: end },
      ],
      ...(neurons.length > 0 ? { neurons: neurons.map((layer) => neuronParts(model, layer, direction, written)) } : {}),
    };
  } finally {
    run.dispose();
  }
}

/** A run's activations at one position. */
interface Written {
  at(name: string): Float32Array;
  has(name: string): boolean;
}

/** Tells whether an activation is needed. */
function isRead(name: string, neurons: readonly number[]): boolean {
  if (
    /(hook_(pos_)?embed|hook_resid_(pre|mid)|attn\.hook_z|hook_mlp_out|ln1_post\.hook_scale|ln_final\.hook_scale)$/.test(
      name,
    )
  )
    return true;
  return neurons.some((layer) =>
    ["mlp.hook_post", "ln2_post.hook_scale"].some((own) => name === blockHook(layer, own)),
  );
}

/** The direction in front of the norm that may stand behind attention or an MLP. */
function beforePost(
  model: Model,
  direction: Direction,
  written: Written,
  { layer, post }: { layer: number; post: 1 | 2 },
): { direction: Direction; bias: number } {
  const norm = model.weights.blocks[layer]![`ln${post}Post`];
  const scale = norm ? written.at(blockHook(layer, `ln${post}_post.hook_scale`))[0]! : 1;
  return throughNorm(direction, norm, scale, model.config);
}

/** The parts of a layer. @param direction in front of the final norm */
function layerParts(
  model: Model,
  layer: number,
  direction: Direction,
  written: Written,
): { heads: number[]; mlp: number; attnBias: number } {
  const { n_heads, attn_only } = model.config;
  const { valueWidth } = headShape(model.config, layer);
  const { o, oBias } = model.weights.blocks[layer]!;
  const own = beforePost(model, direction, written, { layer, post: 1 });
  const z = written.at(blockHook(layer, "attn.hook_z"));
  const perValue = throughMatrix(own.direction, o); // [heads * value width]
  const head = (h: number): number => {
    const [first, last] = [h * valueWidth, (h + 1) * valueWidth];
    return dot(z.subarray(first, last), perValue.subarray(first, last));
  };
  return {
    heads: Array.from({ length: n_heads }, (_, h) => head(h)),
    mlp: attn_only ? 0 : dot(written.at(blockHook(layer, "hook_mlp_out")), direction),
    attnBias: (oBias ? dot(oBias.dataSync(), own.direction) : 0) + own.bias,
  };
}

/** The neurons of a layer's MLP. @param direction in front of the final norm */
function neuronParts(model: Model, layer: number, direction: Direction, written: Written): NeuronParts {
  const { mlpOut, mlpOutBias } = model.weights.blocks[layer]!;
  const own = beforePost(model, direction, written, { layer, post: 2 });
  const perNeuron = throughMatrix(own.direction, mlpOut!);
  return {
    layer,
    values: [...written.at(blockHook(layer, "mlp.hook_post"))].map((active, i) => active * perNeuron[i]!),
    bias: (mlpOutBias ? dot(mlpOutBias.dataSync(), own.direction) : 0) + own.bias,
  };
}

function sumOf(value: number | object): number {
  return typeof value === "number" ? value : Object.values(value).reduce((sum: number, part) => sum + sumOf(part), 0);
}
