import type { Tensor } from "@tensorflow/tfjs";
import { ANYTHING, checkOptions, FUNCTION, listOf, type Rules, real, whole } from "../../common/options.ts";
import { ActivationCache } from "../../hooks/activation-cache.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import type { Sources } from "../../hooks/interventions.ts";
import type { Model } from "../../models/model.ts";
import { checkRows } from "../../models/tokens.ts";
import { activationWidth } from "../../models/transformer/hook-points.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { type Intervened, intervene } from "../intervene.ts";
import { checkLossRows } from "../loss.ts";
import { activationAt } from "./activations.ts";
import { checkFeatures, dictionaryHook, positionsOfStep, type SparseDictionary } from "./dictionary.ts";
import { DICTIONARY } from "./read-features.ts";

/** Features to change in a run. */
export interface ScaleFeaturesOptions {
  dictionary: SparseDictionary;
  /** Rows of token ids [rows][positions], at least two tokens each. */
  tokens: readonly (readonly number[])[];
  /** Feature ids. */
  features: readonly number[];
  /** Factor on their activations; 0, the default, takes them out. */
  scale?: number;
  /** Hook point, for a dictionary whose files name none. */
  at?: string | undefined;
  /** Next tokens shown for each row. Default 5. */
  topTokens?: number;
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal;
  /** Lets others in between stretches of a long run. */
  turn?: Turn;
}

const OPTIONS: Rules<ScaleFeaturesOptions> = {
  dictionary: DICTIONARY,
  tokens: { wants: "rows of token ids", fits: Array.isArray },
  features: listOf(whole(0)),
  scale: real(Number.NEGATIVE_INFINITY),
  at: { wants: "a hook name", fits: (value) => typeof value === "string" },
  topTokens: whole(0),
  progress: FUNCTION,
  signal: ANYTHING,
  turn: FUNCTION,
};

/** Features of a dictionary changed in the run of some rows, as interventions for whoever runs these rows. */
export interface FeatureChange {
  readonly interventions: Intervention[];
  /** The activations that they refer to. */
  readonly sources: Sources;
  /** Frees these activations. */
  dispose(): void;
}

/**
 * Scales features of a dictionary in a run and measures what that does to the loss and the next token. What the dictionary does not
 * explain stays as it is: (scale - 1) times what the features write is added.
 * @throws HeadscopeError for options that do not exist or do not fit, what `dictionaryHook` and `intervene` refuse, and features that the
 * dictionary does not have
 */
export async function scaleFeatures(model: Model, options: ScaleFeaturesOptions): Promise<Intervened> {
  checkOptions("scaleFeatures", options, OPTIONS, ["dictionary", "tokens", "features"]);
  const { tokens, topTokens = 5, progress, signal, turn = loopTurn(signal) } = options;
  checkLossRows(tokens);
  const { interventions, sources, dispose } = await featureChange(model, options);
  try {
    const rest = { topTokens, turn, ...(progress ? { progress } : {}), ...(signal ? { signal } : {}) };
    return await intervene(model, { tokens, interventions, sources, ...rest });
  } finally {
    dispose();
  }
}

/** Makes the interventions of `scaleFeatures`. @throws as `scaleFeatures` does */
export async function featureChange(model: Model, options: ScaleFeaturesOptions): Promise<FeatureChange> {
  checkOptions("featureChange", options, OPTIONS, ["dictionary", "tokens", "features"]);
  const { dictionary, tokens, features, scale = 0, at, signal, turn } = options;
  checkRows(tokens, "", { config: model.config });
  checkFeatures(dictionary, features);
  const hook = dictionaryHook(model, dictionary, at);
  const onLayer = (): void => signal?.throwIfAborted();
  const activation = await activationAt(model, tokens, hook, { onLayer, turn });
  const change = tf.tidy(() => {
    const [rows, positions] = activation.shape as [number, number];
    const added = tf.mul(written(dictionary, activation, features), scale - 1);
    return tf.reshape(added, [rows, positions, ...activationWidth(model.config, hook)]);
  });
  activation.dispose();
  const lengths = tokens.map(({ length }) => length);
  const cache = new ActivationCache(new Map([[hook, change]]), { lengths });
  return {
    interventions: [{ at: hook, do: "add", with: { cache: CACHE } }],
    sources: { caches: { [CACHE]: cache } },
    dispose: () => cache.dispose(),
  };
}

/** Sum of what features write, at every position. @param activation [rows, positions, width] @returns [rows · positions, width] */
function written(dictionary: SparseDictionary, activation: Tensor, features: readonly number[]): Tensor {
  const flat = tf.reshape(activation, [-1, dictionary.facts.width]);
  const [count, most] = [flat.shape[0]!, positionsOfStep(dictionary)];
  const steps = Array.from({ length: Math.ceil(count / most) }, (_, i) => i * most);
  return tf.concat(
    steps.map((first) =>
      tf.tidy(() => {
        const active = dictionary.encode(tf.slice(flat, [first, 0], [Math.min(most, count - first), -1]));
        return dictionary.written(active, features);
      }),
    ),
  );
}

/** The name that the interventions have for their activations. */
const CACHE = "features";
