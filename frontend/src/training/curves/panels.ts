import type { RunDetail } from "../../../../backend/common/api/runs.ts";
import type { RunReference } from "../../../../backend/common/api/task-samples.ts";
import { mean } from "../../../../backend/common/numerics/averages.ts";
import { halfOfRise } from "../../../../backend/common/rise.ts";
import type { Level } from "../../components/plot/levels.ts";
import type { Series } from "../comparison/compare.ts";
import { bandOf, curveOf, type MetricCurve, type MetricCurves, smooth } from "./curves.ts";
import type { Line } from "./figure.ts";
import { type EvaluationMetric, evaluationOf, KIND_WORDS, measureTitle, type RunMetric, rises } from "./metrics.ts";

/** A panel of curves: of one series all metrics of a kind, of several one metric. */
export interface Panel {
  readonly key: string;
  readonly title: string;
  readonly help: string;
  readonly kind: RunMetric["kind"];
  readonly lines: readonly Line[];
  readonly levels: readonly Level[];
  /** Steps at which lines have made half of their rise, of accuracies and scores. */
  readonly halves: readonly Half[];
}

/** The step at which a line of a panel has made half of its rise. */
export interface Half {
  readonly name: string;
  readonly step: number;
}

/** Curves and choices that panels are made of. */
export interface PanelSource {
  readonly series: readonly Series[];
  readonly metrics: readonly RunMetric[];
  curves(run: string): MetricCurves | undefined;
  evaluations(run: string): RunDetail["evaluations"];
  /** The task's reference predictor on the run's evaluations, once it is known. */
  reference?(run: string): RunReference | undefined;
  /** Weight of the past, 0 for none. */
  readonly smoothing: number;
  /** True if a single run's heads are drawn each, in a panel for each probe, instead of the best one. */
  readonly everyHead?: boolean;
}

/** The panels of what is looked at, in the order of the metrics; those without a curve are left out. */
export function panelsOf(source: PanelSource): Panel[] {
  const { series, metrics } = source;
  const [only] = series;
  const panels =
    series.length === 1 && only !== undefined
      ? (["loss", "accuracy", "heads", "other"] as const).flatMap((kind) =>
          kind === "heads" && source.everyHead === true && only.runs.length === 1
            ? metrics
                .filter((metric) => metric.kind === kind)
                .map((metric) => everyHeadPanel(source, only.runs[0]!, metric))
            : kindPanel(source, only, kind),
        )
      : metrics.map((metric) => metricPanel(source, metric));
  return panels.filter(({ lines }) => lines.length > 0).map((panel) => ({ ...panel, halves: halvesOf(panel) }));
}

/** Of what was measured, not of what smoothing makes of it. */
function halvesOf(panel: Omit<Panel, "halves">): Half[] {
  if (!rises(panel)) return [];
  return panel.lines.flatMap(({ name, raw, steps, values }) => {
    const step = halfOfRise(raw ?? { steps, values });
    return step === undefined ? [] : [{ name, step }];
  });
}

function kindPanel(source: PanelSource, series: Series, kind: RunMetric["kind"]): Omit<Panel, "halves"> {
  const metrics = source.metrics.filter((metric) => metric.kind === kind);
  const lines = metrics.flatMap(
    (metric, n) => lineOf(source, series, metric, { name: shortName(metric), colour: n }) ?? [],
  );
  const help = [...new Set(metrics.map((metric) => helpOf(source, [series], metric)))].join(" ");
  return { key: kind, title: KIND_WORDS[kind].title, help, kind, lines, levels: levelsOf(source, [series], metrics) };
}

function everyHeadPanel(source: PanelSource, run: string, metric: RunMetric): Omit<Panel, "halves"> {
  const lines = metric.heads.flatMap(({ name, layer, head }, n) => {
    const curve = source.curves(run)?.get(name);
    if (curve === undefined) return [];
    const look = { name: `${layer}.${head}`, colour: n, dashed: n % 14 >= 7 };
    return [{ ...look, ...smoothed(curve, source.smoothing) }];
  });
  const title = `${measureTitle(metric.key)} heads`;
  return { key: metric.key, title, help: "A line for each head, LAYER.HEAD.", kind: "heads", lines, levels: [] };
}

/** A metric's name where the panel says its kind. */
function shortName({ title, kind }: RunMetric): string {
  return title.replace(kind === "heads" ? /, best head$/ : / (loss|accuracy)$/, "");
}

function metricPanel(source: PanelSource, metric: RunMetric): Omit<Panel, "halves"> {
  const { series } = source;
  return {
    key: metric.key,
    title: metric.title,
    help: helpOf(source, series, metric),
    kind: metric.kind,
    lines: series.flatMap((each) => lineOf(source, each, metric, { name: each.title, colour: each.colour }) ?? []),
    levels: levelsOf(source, series, [metric]),
  };
}

/** A series' line: a run's curve, or the mean and range of several. */
function lineOf(
  source: PanelSource,
  series: Series,
  metric: RunMetric,
  { name, colour }: Pick<Line, "name" | "colour">,
): Line | undefined {
  const curves = series.runs.flatMap((run) => {
    const own = source.curves(run);
    const curve = own && curveOf(own, metric);
    return curve === undefined ? [] : [curve];
  });
  const [first] = curves;
  if (first === undefined) return undefined;
  const common = { name, colour, dashed: colour % 14 >= 7 };
  if (curves.length > 1) {
    const { low, high, ...mean } = bandOf(curves);
    return { ...common, ...smoothed(mean, source.smoothing), low, high };
  }
  return { ...common, ...smoothed(first, source.smoothing), ...(first.heads ? { notes: first.heads } : {}) };
}

function smoothed(curve: MetricCurve, weight: number): MetricCurve & { raw?: MetricCurve } {
  const { steps, values } = curve;
  return weight === 0 ? { steps, values } : { ...smooth(curve, weight), raw: { steps, values } };
}

/** Levels that guessing reaches, once for each value; where evaluations differ in it, with their names. */
/** Levels to compare with: guessing, and the task's reference predictor, mean over the runs. */
function levelsOf(source: PanelSource, series: readonly Series[], metrics: readonly RunMetric[]): Level[] {
  const runs = series.flatMap((each) => each.runs);
  const evaluations = metrics.flatMap((metric) => evaluationOf(metric) ?? []);
  const level = (words: string, measure: (run: string, evaluation: EvaluationMetric) => number | undefined) => {
    const values = evaluations.flatMap((evaluation) => {
      const all = runs.flatMap((run) => measure(run, evaluation) ?? []);
      return all.length === 0 ? [] : [{ name: evaluation.name, value: mean(all) }];
    });
    return namedLevels(words, values);
  };
  const title = runs.map((run) => source.reference?.(run)?.title).find(Boolean);
  return [
    ...level("chance", (run, { name, what }) => source.evaluations(run)?.[name]?.chance?.[what]),
    ...level(title ?? "", (run, { name, what }) => source.reference?.(run)?.evaluations[name]?.[what]),
  ];
}

/** One level for each value to three digits; evaluations are named where their levels differ. */
function namedLevels(words: string, values: readonly { readonly name: string; readonly value: number }[]): Level[] {
  const names = new Map<string, Set<string>>();
  for (const { name, value } of values) {
    const text = value.toPrecision(3);
    names.set(text, (names.get(text) ?? new Set()).add(name));
  }
  const differ = new Set([...names.values()].map((each) => [...each].join())).size > 1;
  return [...names].map(([value, each]) => ({
    value: Number(value),
    label: `${words}${differ ? `, ${[...each].join(" and ")}` : ""} ${Number(value)}`,
  }));
}

function helpOf(source: PanelSource, series: readonly Series[], metric: RunMetric): string {
  const evaluation = evaluationOf(metric);
  const runs = series.flatMap((each) => each.runs);
  const title = evaluation && runs.map((run) => source.evaluations(run)?.[evaluation.name]?.title).find(Boolean);
  if (title) return `${evaluation.name}: measured on ${title}.`;
  if (metric.key === "loss") return "The training loss is that of the step's own batch.";
  return metric.kind === "heads" ? "The largest score of any head at each step, and which head it is." : "";
}
