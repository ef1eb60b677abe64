import type { RunCurves } from "../../../../backend/common/api/runs.ts";
import { type HeadShape, kvHeadOf, readHead } from "../../../../backend/common/heads/head.ts";
import { type HeadMeasurement, parseHeadMetric } from "../../../../backend/common/heads/head-metric.ts";
import type { HeadTable } from "../../../../backend/common/heads/table.ts";
import type { ScoreDocument } from "../../state/workspace.svelte.ts";
import { emptyTable, groupBy } from "../head-grid/grid.ts";

/** Something measured of every head, that the grid can be coloured by. */
export interface Metric {
  /** Its name in the URL: "start/induction.json#induction", or "training#induction.induction". */
  readonly id: string;
  readonly label: string;
  readonly probe: string;
  /** Within its probe. */
  readonly name: string;
  readonly axis: "heads" | "kvHeads";
  /** [layers, heads or kvHeads]; NaN where it was not measured. */
  readonly values: HeadTable;
  /** Least and greatest value that a head can have, where the document says. */
  readonly range?: readonly [number, number] | undefined;
  /** The value of a head that attends evenly, where the document says. */
  readonly chance?: number | undefined;
  /** The score document that it is of; absent for what was measured along training or is of a text. */
  readonly document?: ScoreDocument;
  /** Of what is measured on the reader's text as it is typed. */
  readonly text?: TextMetric;
}

/** A metric of the reader's text, beside its values. */
export interface TextMetric {
  /** Meaning of a value, in a sentence. */
  readonly meaning: string;
  /** True if values below and above 0 mean opposite things. */
  readonly diverging: boolean;
  /** Why there are no values; undefined where there are. */
  readonly missing: string | undefined;
  /** The values of the text or question before, where those of the present one are still to come. */
  readonly before: HeadTable | undefined;
  /** The choices that decide the values. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** The command that gives the same numbers; undefined where it cannot be said yet. */
  readonly command: string | undefined;
}

/** Every metric of the score documents; where two would read the same, the parameters that differ, or else the file, tell them apart. */
export function documentMetrics(documents: readonly ScoreDocument[]): Metric[] {
  const all = documents.flatMap((document) =>
    Object.entries(document.metrics).map(([name, { axis, values, range, chance }]): Metric => {
      const label = name === document.probe ? name : `${document.probe}: ${name}`;
      const id = `${document.id}#${name}`;
      return { id, label, probe: document.probe, name, axis, values, range, chance, document };
    }),
  );
  return all.map((metric) => {
    const alike = all.filter(({ label }) => label === metric.label);
    return alike.length === 1 ? metric : { ...metric, label: `${metric.label} (${difference(metric, alike)})` };
  });
}

function difference(metric: Metric, alike: readonly Metric[]): string {
  const text = (each: Metric): string[] =>
    Object.entries(each.document!.params).map(([name, value]) => `${name} ${value}`);
  const own = text(metric).filter((part) => !alike.every((other) => text(other).includes(part)));
  const unique =
    own.length > 0 && alike.every((other) => other === metric || !own.every((part) => text(other).includes(part)));
  return unique ? own.join(", ") : metric.document!.id;
}

/** A run's curve of one head's measurement. */
interface HeadCurve extends HeadMeasurement {
  readonly curve: RunCurves[string];
}

/** The measurements of heads among a run's curves: `induction.induction[1.2]`. */
function headCurves(curves: RunCurves): HeadCurve[] {
  return Object.entries(curves).flatMap(([name, curve]) => {
    const measurement = parseHeadMetric(name);
    return measurement === undefined ? [] : [{ ...measurement, curve }];
  });
}

/**
 * Metrics that a run measured along its training, as they were last measured at or before a step.
 * @param even what a head that attends evenly has, by PROBE.METRIC
 */
export function trainingMetrics(
  curves: RunCurves,
  shape: HeadShape,
  step: number,
  even: Readonly<Record<string, number>> = {},
): Metric[] {
  const byMeasure = groupBy(headCurves(curves), ({ measure }) => measure);
  return [...byMeasure].map(([measure, list]): Metric => {
    const { probe, metric: name } = list[0]!;
    const columns = 1 + Math.max(...list.map(({ head }) => head));
    const axis = columns <= shape.kvHeads && shape.kvHeads < shape.heads ? "kvHeads" : "heads";
    const values = emptyTable(shape.layers, shape[axis]);
    for (const { layer, head, curve } of list) {
      const row = values[layer];
      if (row !== undefined && head < row.length) row[head] = valueAt(curve, step);
    }
    const label = `${name === probe ? name : `${probe}: ${name}`} (in training)`;
    return { id: `training#${measure}`, label, probe, name, axis, values, chance: even[measure] };
  });
}

function valueAt(curve: RunCurves[string], step: number): number {
  return curve.findLast(([at]) => at <= step)?.[1] ?? Number.NaN;
}

/** One head's measurement along training. */
export interface History {
  readonly measure: string;
  readonly steps: readonly number[];
  readonly values: readonly (number | null)[];
}

/** Lists what a run measured of one query head along training; of a metric over KV heads the one that it reads. */
export function historyOf(curves: RunCurves, head: string, shape: HeadShape): History[] {
  const place = readHead(head);
  if (place === undefined) return [];
  const kv = kvHeadOf(place, shape);
  const axes = new Map(trainingMetrics(curves, shape, Infinity).map(({ id, axis }) => [id, axis]));
  return headCurves(curves)
    .filter(({ measure, layer, head: column }) => {
      const wanted = axes.get(`training#${measure}`) === "kvHeads" ? kv : place;
      return layer === wanted.layer && column === wanted.head;
    })
    .map(({ measure, probe, metric, curve }) => ({
      measure: metric === probe ? metric : measure,
      steps: curve.map(([step]) => step),
      values: curve.map(([, value]) => value),
    }));
}

const NAMED = "probe:";

/** A metric that may be still to be measured, by its probe and its name there. */
export interface ProbeMetric {
  readonly probe: string;
  readonly name: string;
}

/** The name of a metric in a URL where its document is not known, or not there yet: "probe:attention-sink#importance". */
export function writeMetricName({ probe, name }: ProbeMetric): string {
  return `${NAMED}${probe}${name === probe ? "" : `#${name}`}`;
}

/** The metric that such a text names; undefined for an id. */
export function readMetricName(text: string): ProbeMetric | undefined {
  if (!text.startsWith(NAMED)) return undefined;
  const [probe, name = probe] = text.slice(NAMED.length).split("#") as [string, string?];
  return { probe, name };
}

/** The newest measurement of a named metric, of score documents before those of training. */
function measured(metrics: readonly Metric[], named: ProbeMetric | undefined): Metric | undefined {
  const all = metrics.filter(({ probe, name }) => probe === named?.probe && name === named.name);
  return all.findLast(({ document }) => document !== undefined) ?? all.at(-1);
}

/**
 * The id of the metric that new documents are shown by: the one that was asked for where they have it, else the first document's
 * own, which is named like the probe.
 */
export function leadingMetric(
  documents: readonly Pick<ScoreDocument, "id" | "probe" | "metrics">[],
  named: ProbeMetric | undefined,
): string | undefined {
  const asked = documents.find(({ probe, metrics }) => probe === named?.probe && Object.hasOwn(metrics, named.name));
  const shown = asked ?? documents[0];
  if (shown === undefined) return undefined;
  const own = Object.hasOwn(shown.metrics, shown.probe) ? shown.probe : Object.keys(shown.metrics)[0];
  return `${shown.id}#${asked ? named!.name : own}`;
}

/** The metric of an id or a name; without one, or for one that is gone, the best to begin with: induction, else the first. */
export function chosenMetric(metrics: readonly Metric[], id: string): Metric | undefined {
  return (
    metrics.find((metric) => metric.id === id) ??
    measured(metrics, readMetricName(id)) ??
    metrics.find(({ probe, name }) => probe === "induction" && name === "induction") ??
    metrics[0]
  );
}

/** A metric for each query head, [layers, heads]: of one over KV heads each takes that of the KV head it reads. */
export function perQueryHead({ axis, values }: Metric, { heads, kvHeads }: HeadShape): HeadTable {
  if (axis === "heads") return values;
  const size = heads / kvHeads;
  return values.map((row) => row.flatMap((value) => new Array<number>(size).fill(value)));
}

/** Metrics that tell heads apart that score alike by another probe. */
const TELLING = ["retrieval", "previous-token"];

/**
 * The metric across a scatter plot of another: that of the id, else one that tells heads apart, else of another probe, else any.
 * @returns undefined where there is no other one: a metric against itself is a line
 */
export function chosenAgainst(metrics: readonly Metric[], metric: Metric, id: string): Metric | undefined {
  return (
    metrics.find((other) => other.id === id && other.id !== metric.id) ??
    metrics.find((other) => other.probe !== metric.probe && TELLING.includes(other.name)) ??
    metrics.find((other) => other.probe !== metric.probe) ??
    metrics.find((other) => other.id !== metric.id)
  );
}
