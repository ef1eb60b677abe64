import { type HeadMeasurement, parseHeadMetric } from "../../../../backend/common/heads/head-metric.ts";

/** A measurement of a run, for its plots: one of the model, or one of its heads. */
export interface RunMetric {
  /** A run's own name of it, or of a probe's heads PROBE.METRIC without the head. */
  readonly key: string;
  readonly title: string;
  readonly kind: "loss" | "accuracy" | "heads" | "other";
  /** Names of the heads' measurements; empty for what is measured of the model. */
  readonly heads: readonly NamedMeasurement[];
}

/** A head's measurement, under the name that the run keeps it by. */
export interface NamedMeasurement extends HeadMeasurement {
  readonly name: string;
}

const KINDS = ["loss", "accuracy", "heads", "other"] as const;

/** Words for each kind, as titles of panels and the units of their axes. */
export const KIND_WORDS: Readonly<Record<RunMetric["kind"], { title: string; unit: string }>> = {
  loss: { title: "Losses", unit: "loss" },
  accuracy: { title: "Accuracies", unit: "accuracy" },
  heads: { title: "Best heads", unit: "score" },
  other: { title: "Other measurements", unit: "value" },
};

/** Groups the names of measurements, of one run or several: losses, accuracies, heads by probe and metric, others. */
export function metricsOf(names: Iterable<string>): RunMetric[] {
  const heads = new Map<string, NamedMeasurement[]>();
  const plain: RunMetric[] = [];
  for (const name of new Set(names)) {
    const head = parseHeadMetric(name);
    if (head === undefined) plain.push({ key: name, title: titleOf(name), kind: kindOf(name), heads: [] });
    else heads.set(head.measure, [...(heads.get(head.measure) ?? []), { ...head, name }]);
  }
  const measures = [...heads].map(
    ([key, each]): RunMetric => ({
      key,
      title: `${measureTitle(key)}, best head`,
      kind: "heads",
      heads: each.sort((a, b) => a.layer - b.layer || a.head - b.head),
    }),
  );
  // The training loss comes before the losses of the evaluations.
  const place = ({ key, kind }: RunMetric): string => `${KINDS.indexOf(kind)}${key === "loss" ? "" : `.${key}`}`;
  return [...plain, ...measures].sort((a, b) => place(a).localeCompare(place(b), "en", { numeric: true }));
}

/** Says whether a metric rises as an ability forms. */
export function rises({ kind }: Pick<RunMetric, "kind">): boolean {
  return kind === "accuracy" || kind === "heads";
}

function kindOf(name: string): RunMetric["kind"] {
  if (name === "loss" || name.endsWith(".loss")) return "loss";
  return name.endsWith(".accuracy") ? "accuracy" : "other";
}

function titleOf(name: string): string {
  return name === "loss" ? "training loss" : name.replace(/\.(loss|accuracy)$/, " $1");
}

/** The probe and the metric that PROBE.METRIC names. */
export function measureParts(measure: string): { readonly probe: string; readonly name: string } {
  const dot = measure.indexOf(".");
  return { probe: measure.slice(0, dot), name: measure.slice(dot + 1) };
}

/** "induction.induction" is the probe's main metric: "induction"; any other is "attention-sink: importance". */
export function measureTitle(measure: string): string {
  const { probe, name } = measureParts(measure);
  return probe === name ? probe : `${probe}: ${name}`;
}

/** A measure of an evaluation. */
export interface EvaluationMetric {
  readonly name: string;
  readonly what: "loss" | "accuracy";
}

/** The evaluation that a metric is measured on: "in-context" of "in-context.accuracy". */
export function evaluationOf({ key, kind }: RunMetric): EvaluationMetric | undefined {
  if (kind !== "loss" && kind !== "accuracy") return undefined;
  return key === "loss" ? undefined : { name: key.slice(0, -kind.length - 1), what: kind };
}
