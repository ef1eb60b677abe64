import type { Figure, HeatmapFigure, LineFigure } from "../../backend/common/figures/figure.ts";
import { counted } from "../../backend/common/text.ts";
import { levelLine, mean, meanBand, meanCaption, meanLine } from "../curves.ts";
import type { ModelSize } from "./arms.ts";
import { type PhaseCell, type PhaseSeed, type PlateauCurves, rightFrom } from "./judge.ts";

/** Levels that figures show beside models. */
export interface Levels {
  /** Accuracy of guessing. */
  readonly chance: number;
  /** Accuracy of the task's reference on unseen tasks. */
  readonly ceiling: number;
}

/** A model with its size and what its seeds reach. */
export interface SizedAccuracies {
  readonly name: string;
  readonly size: ModelSize;
  /** Accuracies on unseen tasks, a seed each. */
  readonly accuracies: readonly number[];
}

const PLACES = {
  first: "first item, tasks of training",
  seen: "last item, tasks of training",
  unseen: "last item, unseen tasks",
} as const satisfies Partial<Record<keyof PhaseSeed, string>>;
type Place = keyof typeof PLACES;

const CEILING = "classes learned from the sequence alone (ceiling on unseen tasks)";

/** Accuracies of the widest model by number of tasks. */
export function phaseLines(cells: readonly PhaseCell[], { chance, ceiling }: Levels): LineFigure {
  const widest = cells.at(-1)!.width;
  const own = cells.filter(({ width }) => width === widest);
  const x = own.map(({ tasks }) => tasks);
  const line = (place: Place) => {
    const columns = own.map(({ seeds }) => seeds.map((seed) => seed[place]));
    const band = columns[0]!.length > 1 ? { band: meanBand(columns) } : {};
    return { name: PLACES[place], x, y: columns.map(mean), points: true, ...band };
  };
  return {
    kind: "lines",
    name: "phases",
    title: `Memorise, identify, generalise (width ${widest})`,
    caption: meanCaption(own[0]!.seeds.length),
    x: { title: "tasks of training", log: true },
    y: { title: "accuracy", range: [0, 1] },
    lines: [
      ...(Object.keys(PLACES) as Place[]).map(line),
      levelLine("guessing (chance)", x, chance),
      levelLine(CEILING, x, ceiling),
    ],
  };
}

/** Accuracies over tasks and width, a diagram for each place. */
export function phaseDiagrams(cells: readonly PhaseCell[], { chance, ceiling }: Levels): HeatmapFigure[] {
  const counts = [...new Set(cells.map(({ tasks }) => tasks))];
  const widths = [...new Set(cells.map(({ width }) => width))].reverse();
  const at = (tasks: number, width: number) => cells.find((cell) => cell.tasks === tasks && cell.width === width)!;
  return (Object.keys(PLACES) as Place[]).map((place) => ({
    kind: "heatmap",
    name: `diagram-${place}`,
    title: `Accuracy on the ${PLACES[place]}`,
    caption: `Mean of ${counted(cells[0]!.seeds.length, "seed")}; guessing reaches ${chance.toFixed(2)} and a classifier of the sequence alone ${ceiling.toFixed(2)}.`,
    x: { title: "tasks of training", labels: counts.map(String) },
    y: { title: "width", labels: widths.map(String) },
    z: widths.map((width) => counts.map((count) => mean(at(count, width).seeds.map((seed) => seed[place])))),
    scale: { title: "accuracy", range: [0, 1] },
  }));
}

/** Accuracies on unseen tasks over the state, and over the number of parameters. */
export function sizeFigures(models: readonly SizedAccuracies[], { chance, ceiling }: Levels): LineFigure[] {
  const titles = { state: "numbers of the state", parameters: "parameters" } as const satisfies Record<keyof ModelSize, string>;
  return (Object.keys(titles) as (keyof ModelSize)[]).map((size) => {
    const x = models.map((model) => model.size[size]).sort((a, b) => a - b);
    return {
      kind: "lines",
      name: size,
      title: `Unseen tasks by ${titles[size]}`,
      caption: "A point a seed. The state of attention is all keys and values of a sequence.",
      x: { title: titles[size], log: true },
      y: { title: "accuracy", range: [0, 1] },
      lines: [
        ...models.map(({ name, size: own, accuracies }) => ({
          ...{ name, x: accuracies.map(() => own[size]), y: [...accuracies], joined: false, points: true },
        })),
        levelLine("guessing (chance)", x, chance),
        levelLine(CEILING, x, ceiling),
      ],
    };
  });
} // biome-ignore format: one line each

/** Accuracies on unseen tasks over training, as it is and with what should shorten the plateau. */
export function plateauFigure(curves: PlateauCurves, { chance, ceiling }: Levels): Figure {
  const names = { base: "as in the diagram", batch: "large batch", bias: "biased data" } as const;
  const { steps } = curves.base[0]!;
  return {
    kind: "lines",
    name: "plateaus",
    title: "The plateau before a model generalises",
    caption: meanCaption(curves.base.length),
    x: { title: "training step" },
    y: { title: "accuracy on unseen tasks", range: [0, 1] },
    lines: [
      ...(Object.keys(names) as (keyof PlateauCurves)[]).map((name) => meanLine(names[name], curves[name])),
      levelLine("guessing (chance)", steps, chance),
      levelLine("where a plateau ends (threshold)", steps, rightFrom(chance)),
      levelLine(CEILING, steps, ceiling),
    ],
  };
}
