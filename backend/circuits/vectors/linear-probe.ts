import type { LinearProbe } from "../../common/api/linear-probes.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { ANYTHING, checkOptions, FUNCTION, listOf, oneOf, type Rules, real, whole } from "../../common/options.ts";
import type { Random } from "../../common/random.ts";
import { CLASSIFIERS, type Classifier, PROBED_POINTS, type ProbedPoint } from "../../common/words.ts";
import type { Model } from "../../models/model.ts";
import { checkRow } from "../../models/tokens.ts";
import { blockHook, checkLayer } from "../../models/transformer/hook-points.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { chanceOf, type ProbeTargets, probeLayer, type Split, shuffled, splitRandom } from "./probe-layer.ts";
import { promptActivations } from "./prompt-activations.ts";

/** A prompt and the class that it belongs to. */
export interface LabelledPrompt {
  readonly tokens: readonly number[];
  readonly label: string;
}

/** The settings of linear probes, whatever they read. */
export interface ProbeSettings {
  /** Layers to read, default all. */
  layers?: readonly number[];
  /** Point of a layer that is read, default hook_resid_post. */
  at?: ProbedPoint;
  /** Default ridge. */
  method?: Classifier;
  /** Factor of the penalty on the weights, of standardised activations. Default 1. */
  l2?: number;
  /** Share that is held out, default 0.3. */
  test?: number;
  /** Fits with shuffled targets, default 5. */
  controls?: number;
  /** Of the split and the shuffles, default 0. */
  seed?: number;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between prompts and layers. */
  turn?: Turn;
}

/** A question about what can be read from the stream. */
export interface LinearProbeOptions extends ProbeSettings {
  examples: readonly LabelledPrompt[];
  /** Position that is read, negative ones from each prompt's end; "mean": the mean over all. Default -1. */
  position?: number | "mean";
}

/** Rules of the settings. */
export const PROBE_SETTINGS: Rules<ProbeSettings> = {
  layers: listOf(whole(0)),
  at: oneOf(PROBED_POINTS),
  method: oneOf(CLASSIFIERS),
  l2: real(1e-9),
  test: { wants: "a share between 0 and 1", fits: (value) => (value as number) > 0 && (value as number) < 1 },
  controls: whole(0),
  seed: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

const OPTIONS: Rules<LinearProbeOptions> = {
  ...PROBE_SETTINGS,
  examples: { wants: "a list of {tokens, label}", fits: Array.isArray },
  position: { wants: 'a position, or "mean"', fits: (value) => value === "mean" || Number.isSafeInteger(value) },
};

/** Linear probes of labelled prompts. */
export interface PromptProbe extends LinearProbe {
  readonly classes: readonly string[];
}

/**
 * Linear probes by layer: a classifier on activations of some prompts, tested on held-out ones, beside the same with shuffled labels.
 * @throws HeadscopeError for options that do not exist or do not fit, fewer than two classes or two prompts of one, positions that a
 * prompt does not have, and activations that are no numbers
 * @see Alain and Bengio 2016; Hewitt and Liang 2019 on control tasks and selectivity
 */
export async function linearProbe(model: Model, options: LinearProbeOptions): Promise<PromptProbe> {
  checkOptions("linearProbe", options, OPTIONS, ["examples"]);
  const { examples, position = -1, test = 0.3, seed = 0, progress, signal } = options;
  const { layers, names } = layersOf(model, options);
  examples.forEach(({ tokens }, e) => {
    checkRow(tokens, `example ${e}`, { config: model.config });
  });
  const classes = [...new Set(examples.map(({ label }) => label))].sort();
  const labels = examples.map(({ label }) => classes.indexOf(label));
  const split = splitOf(classes, labels, test, seed);
  const turn = options.turn ?? loopTurn(signal);
  const prompts = examples.map(({ tokens }) => tokens);
  const vectors = await promptActivations(model, names, { prompts, position, label: "linear probes, prompts", progress, signal, turn }); // biome-ignore format: one line
  const probe = await probeLayers({ layers, vectors, targets: { kind: "classes", labels }, split }, options);
  return { classes, ...probe };
}

/** Layers that are read, default all, and their hook names. @throws HeadscopeError for a layer that there is not */
export function layersOf(
  { config }: Model,
  { layers, at = "hook_resid_post" }: Pick<ProbeSettings, "layers" | "at">,
): { layers: readonly number[]; names: string[] } {
  const all = layers ?? Array.from({ length: config.n_layers }, (_, layer) => layer);
  for (const layer of all) checkLayer(config, layer);
  return { layers: all, names: all.map((layer) => blockHook(layer, at)) };
}

/** Activations with targets, split. */
export interface ProbeData {
  readonly layers: readonly number[];
  /** By layer, the activations [examples][dimensions]. */
  readonly vectors: readonly (readonly ArrayLike<number>[])[];
  readonly targets: ProbeTargets;
  readonly split: Split;
}

/** Fits and scores the probes of layers, one after another. */
export async function probeLayers(data: ProbeData, settings: ProbeSettings): Promise<LinearProbe> {
  const { layers, vectors, targets, split } = data;
  const { method = "ridge", l2 = 1, controls = 5, seed = 0, progress, turn = loopTurn(settings.signal) } = settings;
  const found: LinearProbe["layers"][number][] = [];
  for (const [i, layer] of layers.entries()) {
    found.push(probeLayer(layer, vectors[i]!, targets, { method, l2, split, controls, seed }));
    progress?.(i + 1, layers.length, "linear probes, layers");
    await turn();
  }
  return {
    metric: targets.kind === "classes" ? "accuracy" : "r2",
    train: split.train.length,
    test: split.test.length,
    chance: chanceOf(targets, split),
    layers: found,
  };
}

/** Prompts to fit and to hold out, of each class in proportion and at least one. */
function splitOf(classes: readonly string[], labels: readonly number[], share: number, seed: number): Split {
  if (classes.length < 2)
    throw new HeadscopeError("input", `there ${classes.length === 1 ? "is one class" : "are no examples"}, and a probe tells two apart`, {
      remedy: "give examples of at least two labels",
    }); // biome-ignore format: one line
  const random: Random = splitRandom(seed);
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
