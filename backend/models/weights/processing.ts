import { createHash } from "node:crypto";
import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { PROCESSING, type Processing } from "../../common/words.ts";
import { tf } from "../../runtime/tf.ts";
import type { ModelConfig } from "../config.ts";
import { requireOpenEnd } from "../transformer/bottleneck.ts";
import { kernelOf } from "../transformer/kernels/index.ts";
import { requireAttention } from "../transformer/mixers/index.ts";
import { requireEqualHeads } from "../transformer/unequal-heads.ts";
import type { BlockWeights, NormWeights } from "./block-parts.ts";
import { Matrix } from "./matrix.ts";
import { partTensors, type Weights } from "./weights.ts";

/** A model's shape and weights while they are changed. */
export interface ProcessedParts {
  config: ModelConfig;
  weights: Weights;
}

const STEPS: Readonly<
  Record<
    Processing,
    { refusal(parts: ProcessedParts): string | undefined; apply(parts: ProcessedParts): ProcessedParts }
  >
> = {
  fold_ln: { refusal: noFolding, apply: foldNorms },
  center_writing_weights: { refusal: noCentring, apply: centreWriting },
  center_unembed: { refusal: noCentredUnembed, apply: centreUnembed },
  fold_value_biases: { refusal: noValueBiases, apply: foldValueBiases },
};

/**
 * Reads names of switches, such as those of --process.
 * @throws HeadscopeError (usage) for an unknown one
 */
export function processingOf(names: readonly string[]): Processing[] {
  const unknown = names.find((name) => !(PROCESSING as readonly string[]).includes(name));
  if (unknown !== undefined) throw unknownName("weight processing", unknown, PROCESSING);
  return PROCESSING.filter((name) => names.includes(name));
}

/** The digest of a model whose weights were processed: other weights, so another identity. */
export function processedDigest(digest: string, switches: readonly Processing[]): string {
  const names = processingOf(switches);
  if (names.length === 0) return digest;
  return `sha256:${createHash("sha256")
    .update(`${digest} ${names.join(",")}`)
    .digest("hex")}`;
}

/**
 * Processes weights. It takes them over: tensors that are replaced are freed, and the others go on in the result; when it
 * throws, the weights are as they were.
 * @param path named in errors
 * @throws HeadscopeError "unsupported" with the reason where a switch would change the model or has nothing to do
 */
export function processWeights(
  config: ModelConfig,
  weights: Weights,
  switches: readonly Processing[],
  path: string,
): ProcessedParts {
  const steps = processingOf(switches);
  if (steps.length > 0 && [...partTensors(weights).values()].some((part) => part instanceof Matrix && part.narrow))
    throw refused(
      path,
      steps[0]!,
      "its weights are kept in fewer bits, and changed ones would be rounded again",
      "use --weights f32",
    );
  if (steps.length > 0) {
    requireAttention(config, `${path}: ${steps[0]}`);
    requireEqualHeads(config, `${path}: ${steps[0]}`);
    requireOpenEnd(config, `${path}: ${steps[0]}`);
  }
  const before = { config, weights };
  for (const name of steps) {
    // What fold_ln makes of a layer norm's offset are value biases too.
    const folds = name === "fold_value_biases" && steps.includes("fold_ln") && weights.blocks.some((b) => b.ln1?.b);
    const why = folds ? undefined : STEPS[name].refusal(before);
    if (why !== undefined) throw refused(path, name, why);
  }
  return steps.reduce((parts, name) => STEPS[name].apply(parts), before);
}

function refused(path: string, name: Processing, why: string, remedy = `leave ${name} out`): HeadscopeError {
  return new HeadscopeError("unsupported", `${path}: ${name} does not apply: ${why}`, { remedy });
}

function noFolding({ config }: ProcessedParts): string | undefined {
  if (config.normalization_type === null) return "the model has no norms";
  if (config.norm_placement === "post")
    return "its norms stand behind attention and MLP, and what they scale is added to the residual stream";
  return undefined;
}

function noCentring({ config }: ProcessedParts): string | undefined {
  if (config.normalization_type !== "LN")
    return config.normalization_type === null
      ? "the model has no norms that would subtract the mean"
      : "RMSNorm does not subtract the mean of what it reads";
  if (!config.final_norm) return "the output reads the residual stream without a norm, so its mean counts";
  if ((config.norm_placement ?? "pre") !== "pre")
    return "its norms stand behind attention and MLP, so what is written does not come from matrices alone";
  return undefined;
}

function noCentredUnembed({ config }: ProcessedParts): string | undefined {
  if (config.output_logits_soft_cap !== undefined)
    return `its logits are soft-capped at ${config.output_logits_soft_cap}, and a shifted logit is capped otherwise`;
  if (config.d_vocab_out !== undefined || config.d_input !== undefined)
    return "its outputs need not be classes, and of a value the mean counts";
  return undefined;
}

function noValueBiases({ config, weights }: ProcessedParts): string | undefined {
  const { normalised, extra, title } = kernelOf(config);
  if (!normalised || extra)
    return `its patterns do not sum to 1 (${title}), so that a value's bias counts by the query`;
  return weights.blocks.some((block) => block.qkvBias) ? undefined : "the model has no value biases";
}

function foldNorms({ config, weights }: ProcessedParts): ProcessedParts {
  const blocks = weights.blocks.map((block) => {
    const qkv = block.ln1 && folded(block.qkv, block.qkvBias, block.ln1);
    const mlp = block.ln2 && block.mlpIn && folded(block.mlpIn, block.mlpInBias, block.ln2);
    free(qkv && block.qkv, qkv && block.qkvBias, mlp && block.mlpIn, mlp && block.mlpInBias);
    return {
      ...block,
      ...(qkv && { ln1: plain(block.ln1!), qkv: qkv.matrix, qkvBias: qkv.bias }),
      ...(mlp && { ln2: plain(block.ln2!), mlpIn: mlp.matrix, mlpInBias: mlp.bias }),
    };
  });
  return foldFinal({ config, weights: { ...weights, blocks } });
}

/** The final norm goes into the first matrix behind it: a readout layer or the unembedding. */
function foldFinal({ config, weights }: ProcessedParts): ProcessedParts {
  const { lnFinal, readout } = weights;
  if (!config.final_norm || !lnFinal) return { config, weights };
  const [first, ...later] = readout ?? [];
  if (first) {
    const { matrix, bias: offset } = folded(first.weight, first.bias, lnFinal);
    free(first.weight, first.bias);
    return {
      config,
      weights: { ...weights, lnFinal: plain(lnFinal), readout: [{ weight: matrix, bias: offset! }, ...later] },
    };
  }
  const { matrix, bias: offset } = folded(weights.unembed, weights.unembedBias, lnFinal);
  return withUnembed({ config, weights: { ...weights, lnFinal: plain(lnFinal) } }, matrix, offset);
}

/** A matrix that reads a norm's output without its scale and offset, and the bias that the offset makes. */
function folded(
  matrix: Matrix,
  offset: Tensor | undefined,
  norm: NormWeights,
): { matrix: Matrix; bias: Tensor | undefined } {
  const wide = matrix.widen(); // [out, d_model]
  const [scaled, moved] = tf.tidy(() => {
    const w = tf.mul(wide, norm.w);
    const centred = norm.b ? tf.sub(w, tf.mean(w, 1, true)) : w;
    const shift = norm.b && tf.sum(tf.mul(wide, norm.b), 1); // [out]
    const total = shift && offset ? tf.add(offset, shift) : (shift ?? (offset && tf.clone(offset)));
    return [centred, total] as [Tensor, Tensor | undefined];
  });
  return { matrix: Matrix.dense(scaled), bias: moved };
}

/** A norm whose scale is 1 and whose offset, where it has one, is 0. It frees the one that it replaces. */
function plain(norm: NormWeights): NormWeights {
  const identity = { w: tf.onesLike(norm.w), b: norm.b && tf.zerosLike(norm.b) };
  free(norm.w, norm.b);
  return identity;
}

function centreWriting({ config, weights }: ProcessedParts): ProcessedParts {
  const vectors = config.d_input !== undefined;
  const { embed, unembed, posEmbed, embedBias, softPrompt } = weights;
  const tied = unembed === embed;
  const blocks = weights.blocks.map((block): BlockWeights => {
    const written = {
      o: centred(block.o, 0),
      oBias: centredBias(block.oBias),
      mlpOut: block.mlpOut && centred(block.mlpOut, 0),
      mlpOutBias: centredBias(block.mlpOutBias),
    };
    free(block.o, block.oBias, block.mlpOut, block.mlpOutBias);
    return { ...block, ...written };
  });
  const embedded = {
    embed: centred(embed, vectors ? 0 : 1),
    embedBias: centredBias(embedBias),
    posEmbed: posEmbed && centred(posEmbed, 1),
    softPrompt: softPrompt && centred(softPrompt, 1),
  };
  free(tied ? undefined : embed, embedBias, posEmbed, softPrompt);
  return { config: { ...config, tie_word_embeddings: false }, weights: { ...weights, ...embedded, blocks } };
}

function centreUnembed(parts: ProcessedParts): ProcessedParts {
  const { unembed, unembedBias } = parts.weights;
  return withUnembed(parts, centred(unembed, 0), centredBias(unembedBias));
}

function foldValueBiases({ config, weights }: ProcessedParts): ProcessedParts {
  const { n_heads: H, n_key_value_heads: G, d_head: D } = config;
  const blocks = weights.blocks.map((block): BlockWeights => {
    const { qkvBias, oBias, o } = block;
    if (!qkvBias) return block;
    const [kept, moved] = tf.tidy(() => {
      const value = tf.reshape(tf.slice(qkvBias, [(H + G) * D], [G * D]), [G, 1, D]);
      const heads = tf.reshape(tf.tile(value, [1, H / G, 1]), [1, H * D]); // each query head reads its KV head's
      const output = tf.sum(tf.mul(o.widen(), heads), 1); // [d_model]
      const rest = tf.concat([tf.slice(qkvBias, [0], [(H + G) * D]), tf.zeros([G * D])]);
      return [rest, oBias ? tf.add(oBias, output) : output] as [Tensor, Tensor];
    });
    free(qkvBias, oBias);
    return { ...block, qkvBias: kept, oBias: moved };
  });
  return { config, weights: { ...weights, blocks } };
}

/** The weights with another unembedding, untied from the embedding; it frees what it replaces. */
function withUnembed({ config, weights }: ProcessedParts, unembed: Matrix, offset: Tensor | undefined): ProcessedParts {
  free(weights.unembed === weights.embed ? undefined : weights.unembed, weights.unembedBias);
  return {
    config: { ...config, tie_word_embeddings: false },
    weights: { ...weights, unembed, unembedBias: offset },
  };
}

/** A matrix without its mean along an axis, as a new one. */
function centred(matrix: Matrix, axis: 0 | 1): Matrix {
  return Matrix.dense(
    tf.tidy(() => {
      const wide = matrix.widen();
      return tf.sub(wide, tf.mean(wide, axis, true));
    }),
  );
}

function centredBias(offset: Tensor | undefined): Tensor | undefined {
  return offset && tf.tidy(() => tf.sub(offset, tf.mean(offset)));
}

function free(...weights: ({ dispose(): void } | undefined)[]): void {
  for (const weight of weights) weight?.dispose();
}
