import type { LineFigure } from "../../backend/common/figures/figure.ts";
import { counted } from "../../backend/common/text.ts";
import { levelLine, mean, meanCaption, meanLine } from "../curves.ts";
import { meansLine } from "../intervals.ts";
import { BEHAVIOUR, type Steering } from "./judge.ts";
import type { DialValues, SteeringValues } from "./measure.ts";

const DIALS: Readonly<Record<Steering, string>> = {
  style: "strength of the in-context vectors",
  labelling: "factor on the function vector",
};
/** Behaviour of a model that knows nothing: as much of both labels' words, or a token of all. */
const CHANCE: Readonly<Record<Steering, number>> = { style: 0.5, labelling: 0 };

/** A behaviour over its dial, beside random vectors and demonstrations. */
export function behaviourFigure(
  steering: Steering,
  seeds: readonly SteeringValues[],
  dial: readonly number[],
): LineFigure {
  const items = (of: (seed: SteeringValues) => DialValues) => dial.map((_, place) => seeds.flatMap((seed) => of(seed).behaviour[place]!)); // biome-ignore format: one line
  return {
    kind: "lines",
    name: `${steering}-behaviour`,
    title: `${BEHAVIOUR[steering][0]!.toUpperCase()}${BEHAVIOUR[steering].slice(1)}`,
    caption: `All prompts of ${counted(seeds.length, "seed")}, with 95 % intervals over prompts.`,
    x: { title: DIALS[steering] },
    y: { title: BEHAVIOUR[steering], range: [0, 1] },
    lines: [
      meansLine("the vector", dial, items(({ own }) => own)),
      meansLine("random vectors of the same lengths", dial, items(({ random }) => random)),
      levelLine("demonstrations in the prompt", dial, mean(seeds.flatMap(({ demonstrations }) => demonstrations))),
      levelLine("chance", dial, CHANCE[steering]),
      levelLine("ceiling", dial, 1),
    ],
  }; // biome-ignore format: a line of the figure a line
}

/** The loss on neutral text over a dial. */
export function lossFigure(steering: Steering, seeds: readonly SteeringValues[], dial: readonly number[]): LineFigure {
  const losses = (of: (seed: SteeringValues) => DialValues) => seeds.map((seed) => ({ steps: dial, values: of(seed).loss })); // biome-ignore format: one line
  return {
    kind: "lines",
    name: `${steering}-loss`,
    title: "Loss on neutral text",
    caption: `The dashed line is the model as it is. ${meanCaption(seeds.length)}`,
    x: { title: DIALS[steering] },
    y: { title: "nats a token" },
    lines: [
      { ...meanLine("the vector", losses(({ own }) => own)), points: true },
      { ...meanLine("random vectors of the same lengths", losses(({ random }) => random)), points: true },
      levelLine("without", dial, mean(seeds.map(({ own }) => own.loss[dial.indexOf(0)]!))),
    ],
  }; // biome-ignore format: a line of the figure a line
}
