import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, listOf, oneOf, type Rules, real, whole } from "../../common/options.ts";
import { Random } from "../../common/random.ts";
import { CLASSIFIERS, type Classifier, PROBED_POINTS, type ProbedPoint } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { checkRow } from "../../models/tokens.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { classify, type Kernel } from "./classifiers.ts";
import { promptActivations } from "./prompt-activations.ts";

/** A prompt and the class that it belongs to. */
export interface LabelledPrompt {
  readonly tokens: readonly number[];
  readonly label: string;
}

/** A question about what can be read from the stream. */
export interface LinearProbeOptions {
  examples: readonly LabelledPrompt[];
  /** Layers to read, default all. */
  layers?: readonly number[];
  /** Point of a layer that is read, default hook_resid_post. */
  at?: ProbedPoint;
  /** Position that is read, negative ones from each prompt's end; "mean": the mean over all. Default -1. */
  position?: number | "mean";
  /** Default ridge. */
  method?: Classifier;
  /** Factor of the penalty on the weights, of standardised activations. Default 1. */
  l2?: number;
  /** Share of each class that is held out, default 0.3. */
  test?: number;
  /** Fits with shuffled labels, default 5. */
  controls?: number;
  /** Of the split and the shuffles, default 0. */
  seed?: number;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between prompts and layers. */
  turn?: Turn;
}

const OPTIONS: Rules<LinearProbeOptions> = {
  examples: { wants: "a list of {tokens, label}", fits: Array.isArray },
  layers: listOf(whole(0)),
  at: oneOf(PROBED_POINTS),
  position: { wants: 'a position, or "mean"', fits: (value) => value === "mean" || Number.isSafeInteger(value) },
  method: oneOf(CLASSIFIERS),
  l2: real(1e-9),
  test: { wants: "a share between 0 and 1", fits: (value) => (value as number) > 0 && (value as number) < 1 },
  controls: whole(0),
  seed: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** A layer's probe. */
export interface ProbedLayer {
  readonly layer: number;
  /** Share of held-out prompts whose class is read rightly. */
  readonly accuracy: number;
  /** Wilson's 95 % interval of it. */
  readonly interval: readonly [number, number];
  /** The same with shuffled labels, the mean over the draws; absent without controls. */
  readonly control?: number;
  /** Accuracy less that of the control. */
  readonly selectivity?: number;
}

/** Linear probes of some layers. */
export interface LinearProbe {
  readonly classes: readonly string[];
  /** Prompts that are fitted, and prompts that are held out. */
  readonly train: number;
  readonly test: number;
  /** Share of the most frequent class among the held-out prompts: what a probe that reads nothing gets. */
  readonly chance: number;
  readonly layers: readonly ProbedLayer[];
}

/**
 * Linear probes by layer: a classifier on activations of some prompts, tested on held-out ones, beside the same with shuffled labels.
 * @throws HeadscopeError for options that do not exist or do not fit, fewer than two classes or two prompts of one, positions that a
 * prompt does not have, and activations that are no numbers
 * @see Alain and Bengio 2016; Hewitt and Liang 2019 on control tasks and selectivity
 */
export async function linearProbe(model: Model, options: LinearProbeOptions): Promise<LinearProbe> {
  checkOptions("linearProbe", options, OPTIONS, ["examples"]);
  const { examples, at = "hook_resid_post", method = "ridge", l2 = 1, test = 0.3, controls = 5, seed = 0 } = options;
  const { n_layers } = model.config;
  const layers = options.layers ?? Array.from({ length: n_layers }, (_, layer) => layer);
  for (const layer of layers) checkLayer(model.config, layer);
  examples.forEach(({ tokens }, e) => {
    checkRow(tokens, `example ${e}`, { config: model.config });
  });
  const classes = [...new Set(examples.map(({ label }) => label))].sort();
  const labels = examples.map(({ label }) => classes.indexOf(label));
  const split = splitOf(classes, labels, test, seed);
  const shuffles = Array.from({ length: controls }, (_, draw) => shuffled(labels, new Random(seed, draw + 11)));
  const names = layers.map((layer) => blockHook(layer, at));
  const turn = options.turn ?? loopTurn(options.signal);
  const { position = -1, progress, signal } = options;
  const prompts = examples.map(({ tokens }) => tokens);
  const vectors = await promptActivations(model, names, { prompts, position, label: "linear probes, prompts", progress, signal, turn }); // biome-ignore format: one line
  const found: ProbedLayer[] = [];
  for (const [i, layer] of layers.entries()) {
    const labellings = [labels, ...shuffles];
    const kernel = kernelOf(vectors[i]!, split);
    const fits = classify(method, kernel, labellings.map((all) => split.train.map((e) => all[e]!)), l2); // biome-ignore format: one line
    const [right, ...others] = fits.map(
      (read, l) => read.filter((c, t) => c === labellings[l]![split.test[t]!]).length,
    );
    const accuracy = right! / split.test.length;
    const control = others.reduce((sum, count) => sum + count, 0) / (split.test.length * controls);
    found.push({
      layer,
      accuracy,
      interval: wilson(right!, split.test.length),
      ...(controls > 0 ? { control, selectivity: accuracy - control } : {}),
    });
    progress?.(i + 1, layers.length, "linear probes, layers");
    await turn();
  }
  const counts = classes.map((_, c) => split.test.filter((e) => labels[e] === c).length);
  const chance = Math.max(...counts) / split.test.length;
  return { classes, train: split.train.length, test: split.test.length, chance, layers: found };
}

interface Split {
  readonly train: readonly number[];
  readonly test: readonly number[];
}

/** Prompts to fit and to hold out, of each class in proportion and at least one. */
function splitOf(classes: readonly string[], labels: readonly number[], share: number, seed: number): Split {
  if (classes.length < 2)
    throw new HeadscopeError("input", `there ${classes.length === 1 ? "is one class" : "are no examples"}, and a probe tells two apart`, {
      remedy: "give examples of at least two labels",
    }); // biome-ignore format: one line
  const random = new Random(seed, 10);
  const parts = classes.map((name, c) => {
    const own = labels.flatMap((label, e) => (label === c ? [e] : []));
    if (own.length < 2)
      throw new HeadscopeError("input", `label ${JSON.stringify(name)} has one example, and one is fitted and one held out`, {
        remedy: "give at least two of each label",
      }); // biome-ignore format: one line
    const order = shuffled(own, random);
    const held = Math.min(own.length - 1, Math.max(1, Math.round(share * own.length)));
    return { train: order.slice(held), test: order.slice(0, held) };
  });
  return { train: parts.flatMap(({ train }) => train), test: parts.flatMap(({ test }) => test) };
}

/** A list in another order. */
function shuffled<T>(list: readonly T[], random: Random): T[] {
  return random.permutation(list.length).map((place) => list[place]!);
}

/** Inner products of activations, each dimension standardised by the training prompts. */
function kernelOf(vectors: readonly Float32Array[], { train, test }: Split): Kernel {
  const table = (part: readonly number[]): Tensor => tf.stack(part.map((e) => tf.tensor1d(vectors[e]!)));
  const [own, other] = tf.tidy(() => {
    const fitted = table(train);
    const { mean, variance } = tf.moments(fitted, 0);
    const scale = tf.where(tf.greater(variance, 0), tf.rsqrt(tf.maximum(variance, 1e-30)), tf.zerosLike(variance));
    const [x, y] = [fitted, table(test)].map((part) => tf.mul(tf.sub(part, mean), scale)) as [Tensor, Tensor];
    return [tf.matMul(x, x, false, true), tf.matMul(y, x, false, true)];
  }) as [Tensor, Tensor];
  const kernel = { train: Float64Array.from(own.dataSync()), test: Float64Array.from(other.dataSync()) };
  tf.dispose([own, other]);
  return kernel;
}

/** Wilson's 95 % interval of a share. @param hits of `count` trials */
export function wilson(hits: number, count: number): [number, number] {
  const z = 1.959964;
  const share = hits / count;
  const centre = share + (z * z) / (2 * count);
  const spread = z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count));
  const size = 1 + (z * z) / count;
  return [Math.max(0, (centre - spread) / size), Math.min(1, (centre + spread) / size)];
}
