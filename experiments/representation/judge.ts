import { z } from "zod";
import type { ClaimResult, ClaimStatement } from "../base.ts";
import { type Curve, comesFirst, crossing, mean, medianOf } from "../curves.ts";
import { QUORUM_WORDS, TOO_CLOSE, type Vote, vote } from "../verdicts.ts";

const FU = "Fu et al. 2023, How does representation impact in-context learning";

/** Least selectivity of a probe of something that is there. */
const SELECTIVE = 0.2;
/** Least correlation that counts as a close relation. */
const CLOSE = 0.8;
/** Least gain of the in-context component, mean over saved steps, that counts as help. */
const HELP = 0.05;
/** Largest share of the steps that a helped model may take. */
const SHORTER = 0.8;

const COMPONENTS =
  "The in-weights component is the accuracy of linear probes for an item's factors, fitted and scored on different items, the in-context component that of a probe for the factor " +
  "that decides; both at the last item, at their best layer.";

export const representationClaims: readonly ClaimStatement[] = [
  {
    id: "readable",
    statement: "Both components of a representation can be read from a model that has learned in context.",
    source: `${FU}, probes`,
    check:
      `${COMPONENTS} At the end of a training from fresh weights both have an interval above chance and are at least ${SELECTIVE} above probes of ` +
      `shuffled targets, ${QUORUM_WORDS}.`,
  },
  {
    id: "related",
    statement: "The in-context component is closely related to in-context performance.",
    source: `${FU}, abstract`,
    check: `Over the saved steps of the three trainings of a seed, it and the accuracy with a hidden factor have a correlation (Pearson's) of at least ${CLOSE}, ${QUORUM_WORDS}.`,
  },
  {
    id: "weights-first",
    statement: "The in-weights component is the foundation: it comes before the in-context one.",
    source: `${FU}, abstract`,
    check:
      `From fresh weights the in-weights component is half way from chance to 1 before the in-context one is, with two saved steps at least between them, ${QUORUM_WORDS}. ` +
      "A seed in which they come closer together, or one never comes, cannot say.",
  },
  {
    id: "helps",
    statement: "A good in-weights component benefits the learning of the in-context component.",
    source: `${FU}, abstract`,
    check:
      `The in-context component, mean over the saved steps, is with weights that know the items' factors at least ${HELP} above that from fresh weights and above that with weights that know ` +
      `other factors, ${QUORUM_WORDS}.`,
  },
  {
    id: "sooner",
    statement: "It makes in-context learning come sooner.",
    source: `${FU}, abstract`,
    check:
      "The accuracy with a hidden factor passes half of the way from Bayes' without labels to Bayes' with them after at most " +
      `${SHORTER} of the steps that it takes from fresh weights, and of those with weights that know other factors, ${QUORUM_WORDS}. A seed in which none of the three passes cannot say.`,
  },
]; // biome-ignore format: sentences

/** The trainings with a hidden factor, by the weights that they begin with. */
export const ARMS = ["fresh weights", "the items' factors", "other factors"] as const;
export type Arm = (typeof ARMS)[number];

const layerScore = z.object({ score: z.number(), low: z.number(), control: z.number() });
/** A probe's accuracy, the lower end of its interval, and that of shuffled targets. */
export type LayerScore = z.output<typeof layerScore>;

/** Schema of the probes of a saved step: by layer, the embedding first for the in-weights component. */
export const componentValues = z.object({ weights: z.array(layerScore), context: z.array(layerScore) });
export type Components = z.output<typeof componentValues>;

/** A training of a seed. */
export interface ArmResult {
  /** Saved steps. */
  readonly steps: readonly number[];
  /** Probes at each of them. */
  readonly components: readonly Components[];
  /** Accuracy with a hidden factor. */
  readonly accuracy: Curve;
}

/** Trainings of a seed. */
export type RepresentationSeed = Readonly<Record<Arm, ArmResult>> & {
  /** Bayes' accuracies without labels and with them. */
  readonly bayes: { readonly bare: number; readonly hidden: number };
};

/** Accuracies of guessing: a factor's value, and the factor that decides. */
export interface Chances {
  readonly weights: number;
  readonly context: number;
}

/** The best layer's score. */
export function bestOf(layers: readonly LayerScore[]): LayerScore {
  return layers.reduce((a, b) => (b.score > a.score ? b : a));
}

/** A component over the saved steps, at each one's best layer. */
export function componentCurve({ steps, components }: ArmResult, component: keyof Components): Curve {
  return { steps, values: components.map((each) => bestOf(each[component]).score) };
}

/** Pearson's correlation; NaN where one side is all the same. */
export function correlation(x: readonly number[], y: readonly number[]): number {
  const [a, b] = [mean(x), mean(y)];
  const along = (p: readonly number[], m: number, q: readonly number[], n: number) =>
    p.reduce((sum, value, i) => sum + (value - m) * (q[i]! - n), 0);
  return along(x, a, y, b) / Math.sqrt(along(x, a, x, a) * along(y, b, y, b));
}

/** The correlation of the in-context component with accuracy, over saved steps and trainings. */
function relation(seed: RepresentationSeed): number {
  const points = ARMS.flatMap((arm) => {
    const { steps, components, accuracy } = seed[arm];
    return steps.map((step, i) => {
      const distance = (at: number) => Math.abs(accuracy.steps[at]! - step);
      const nearest = accuracy.steps.map((_, at) => at).reduce((p, q) => (distance(q) < distance(p) ? q : p));
      return [bestOf(components[i]!.context).score, accuracy.values[nearest]!] as const;
    });
  });
  return correlation(
    points.map(([x]) => x),
    points.map(([, y]) => y),
  );
}

/** The step after which a training has in-context ability for good. */
export function passing(seed: RepresentationSeed, arm: Arm): number | undefined {
  return crossing(seed[arm].accuracy, (seed.bayes.bare + seed.bayes.hidden) / 2);
}

/** Tells if knowing the items' factors makes in-context ability come sooner than both others. */
function sooner(seed: RepresentationSeed): Vote {
  const [fresh, right, wrong] = ARMS.map((arm) => passing(seed, arm));
  if (right === undefined) return fresh === undefined && wrong === undefined ? undefined : false;
  return [fresh, wrong].every((step) => step === undefined || right <= SHORTER * step);
}

const texts = (values: readonly number[]): string => values.map((value) => value.toFixed(2)).join(", ");

/** Decides the claims. @param seeds one each */
export function judge(seeds: readonly RepresentationSeed[], chance: Chances): ClaimResult[] {
  const fresh = seeds.map((seed) => seed["fresh weights"]);
  const ends = (component: keyof Components) => fresh.map(({ components }) => bestOf(components.at(-1)![component]));
  const [weights, context] = [ends("weights"), ends("context")];
  const there = ({ score, low, control }: LayerScore, guess: number) => low > guess && score - control >= SELECTIVE;
  const half = (component: keyof Components) =>
    fresh.map((arm) => crossing(componentCurve(arm, component), (1 + chance[component]) / 2));
  const [first, second] = [half("weights"), half("context")];
  const means = Object.fromEntries(
    ARMS.map((arm) => [arm, seeds.map((seed) => mean(componentCurve(seed[arm], "context").values))]),
  ) as Record<Arm, number[]>;
  const gain = (s: number, over: Arm) => means["the items' factors"][s]! - means[over][s]!;
  const relations = seeds.map(relation);
  return [
    {
      id: "readable",
      measured: {
        "in-weights component, by seed": texts(weights.map(({ score }) => score)),
        "in-context component, by seed": texts(context.map(({ score }) => score)),
        "shuffled factors, mean": mean(weights.map(({ control }) => control)),
        "shuffled deciding factors, mean": mean(context.map(({ control }) => control)),
      },
      ...vote(
        weights.map((each, s) => there(each, chance.weights) && there(context[s]!, chance.context)),
        "both are read",
        "",
      ),
    },
    {
      id: "related",
      measured: { "correlation, by seed": texts(relations) },
      ...vote(
        relations.map((each) => (Number.isNaN(each) ? undefined : each >= CLOSE)),
        "they are closely related",
        "one of the two never changes",
      ),
    },
    {
      id: "weights-first",
      measured: {
        "step of the in-weights component, median": medianOf(first),
        "step of the in-context component, median": medianOf(second),
      },
      ...vote(
        first.map((step, s) => comesFirst(step, second[s], fresh[s]!.steps)),
        "the in-weights component comes first",
        `one never comes, or ${TOO_CLOSE}`,
      ),
    },
    {
      id: "helps",
      measured: Object.fromEntries(
        ARMS.map((arm) => [`in-context component over training, ${arm}, by seed`, texts(means[arm])]),
      ),
      ...vote(
        seeds.map((_, s) => gain(s, "fresh weights") >= HELP && gain(s, "other factors") >= HELP),
        "the in-context component is better learned",
        "",
      ),
    },
    {
      id: "sooner",
      measured: Object.fromEntries(
        ARMS.flatMap((arm) => {
          const steps = seeds.map((seed) => passing(seed, arm));
          const come = steps.filter((step) => step !== undefined).length;
          return [
            [`steps, ${arm}, median`, medianOf(steps)],
            [`seeds in which it comes, ${arm}`, `${come} of ${seeds.length}`],
          ];
        }),
      ),
      ...vote(seeds.map(sooner), "it comes sooner", "in-context ability never comes"),
    },
  ];
}
