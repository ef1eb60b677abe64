import type { LineFigure } from "../../../backend/common/figures/figure.ts";
import { type Curve, levelLine, mean, meanCaption, meanLine } from "../../curves.ts";
import { type Distance, LEAST_SQUARES } from "../learner-distances.ts";
import type { Decoded, LayerScore, ModelFit } from "../learning-algorithm-claims.ts";

/** Fits along a sweep, by seed. */
type Sweep = readonly (readonly ModelFit[])[];

type Line = LineFigure["lines"][number];

/** Error by pairs seen: models of every depth, and the learners on the same prompts. */
export function errorFigure(depths: Sweep): LineFigure {
  const fits = depths[0]!;
  const deepest = depths.map((seed) => seed.at(-1)!);
  const pairs = fits[0]!.errors.model.map((_, i) => i);
  const curve = (values: readonly number[]): Curve => ({ steps: pairs, values: [...values] });
  return {
    kind: "lines",
    name: "errors",
    title: "Squared error by pairs seen, over the variance of y",
    caption: `${meanCaption(depths.length)} Without noise least squares is the best there is; 1 is the error of predicting 0.`,
    x: { title: "pairs seen", whole: true },
    y: { title: "squared error / variance of y", range: [0, 1.5] },
    lines: [
      ...fits.map((fit, i) =>
        meanLine(
          `model of depth ${fit.depth}`,
          depths.map((seed) => curve(seed[i]!.errors.model)),
        ),
      ),
      ...deepest[0]!.all.map(({ name }): Line => {
        const { x, y } = meanLine(
          name,
          deepest.map((fit) => curve(fit.errors.learners[name]!)),
        );
        return { name, x, y, dashed: true };
      }),
      levelLine("predicting 0 (chance)", pairs, 1),
    ],
  };
}

const DISTANCES = {
  spd: { name: "predictions", title: "Difference of predictions (SPD)", axis: "SPD / variance of y" },
  ilwd: { name: "weights", title: "Difference of implied weights (ILWD)", axis: "ILWD / expected |w|²" },
} as const;

/** Distance of models from each learner along a sweep. */
export function distanceFigure(along: "depth" | "width", by: keyof Distance, sweep: Sweep): LineFigure {
  const fits = sweep[0]!;
  const x = fits.map((fit) => fit[along]);
  const { name: what, title, axis } = DISTANCES[by];
  const chance = by === "spd" ? mean(sweep.flatMap((seed) => seed.map(({ zero }) => zero))) : 1;
  return {
    kind: "lines",
    name: `${along}-${what}`,
    title: `${title} from each learner, by ${along}`,
    caption: `${meanCaption(sweep.length)} ${by === "spd" ? "Chance is the distance of predicting 0 from least squares" : "Chance is that of weights 0 from w itself"}; 0 is the same learner.`,
    x: { title: along === "depth" ? "layers" : "width of the residual stream", whole: true },
    y: { title: axis },
    lines: [
      ...fits[0]!.all.map(({ name }) => ({
        ...meanLine(
          name,
          sweep.map((seed): Curve => ({ steps: x, values: seed.map(({ distances }) => distances[name]![by]) })),
        ),
        points: true,
      })),
      levelLine("predicting 0 (chance)", x, chance),
      levelLine("the same (ceiling)", x, 0),
    ],
  };
}

/** Distance of models of noisy data from ridge regression over its penalty. */
export function noiseFigure(noises: Sweep): LineFigure {
  const lines = noises[0]!.flatMap((fit, i): Line[] => {
    const ridges = fit.all.filter(({ rank }) => rank === 1).toReversed(); // ascending penalties
    const factors = ridges.map((_, r) => 4 ** (r - (ridges.length - 1) / 2));
    const line = meanLine(
      `ridge, σ ${fit.sigma}`,
      noises.map(
        (seed): Curve => ({
          steps: factors,
          values: ridges.map(({ name }) => seed[i]!.distances[name]!.spd),
        }),
      ),
    );
    const own = noises.map((seed) => seed[i]!);
    return [
      { ...line, points: true },
      levelLine(`least squares, σ ${fit.sigma}`, factors, mean(own.map((f) => f.distances[LEAST_SQUARES]!.spd))),
      levelLine(`predicting 0 (chance), σ ${fit.sigma}`, factors, mean(own.map(({ zero }) => zero))),
    ];
  });
  return {
    kind: "lines",
    name: "noise",
    title: "Difference of predictions from ridge regression, by its penalty",
    caption: `${meanCaption(noises.length)} At 1 the penalty is σ²/τ², the posterior mean; 0 is the same learner.`,
    x: { title: "λ / (σ²/τ²)", log: true },
    y: { title: DISTANCES.spd.axis },
    lines: [...lines, levelLine("the same (ceiling)", lines[0]!.x, 0)],
  };
}

/** R² of linear probes by layer. @param share R² that the moment gives for the weights and they for it */
export function decodedFigure(seeds: readonly Decoded[], share: number): LineFigure {
  const layers = seeds[0]!.moment.map((_, layer) => layer);
  const line = (name: string, target: keyof Decoded, of: (score: LayerScore) => number): Line => ({
    ...meanLine(
      name,
      seeds.map((seed): Curve => ({ steps: layers, values: seed[target].map(of) })),
    ),
    points: true,
  });
  return {
    kind: "lines",
    name: "probes",
    title: "What can be read linearly from the deepest model, by layer",
    caption: `Held-out R² at the best of three places: the mean over positions, the last y shown, the last x. ${meanCaption(seeds.length)}`,
    x: { title: "layer", whole: true },
    y: { title: "R²", range: [-0.2, 1] },
    lines: [
      line("moment vector Xᵀy", "moment", ({ score }) => score),
      line("weights of least squares", "weights", ({ score }) => score),
      { ...line("moment, shuffled (control)", "moment", ({ control }) => control), dashed: true },
      { ...line("weights, shuffled (control)", "weights", ({ control }) => control), dashed: true },
      levelLine("what one gives for the other", layers, share),
      levelLine("reading nothing (chance)", layers, 0),
      levelLine("reading all (ceiling)", layers, 1),
    ],
  };
}
