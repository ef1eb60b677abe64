import { parseHeadMetric } from "../../common/heads/head-metric.ts";
import { signed, wrapped } from "../../common/text.ts";
import type { ShownStatus } from "../../common/words.ts";
import type { CheckpointRow, RunRecord } from "../../store/store.ts";
import type { Curves, MetricPoint } from "../../training/record/curves.ts";
import { bold, bytes, count, dim, number, right, table } from "./format.ts";

/** A run as a reader sees it. */
export type ShownRun = Omit<RunRecord, "status"> & { readonly status: ShownStatus };

/** A run with what was measured of it. */
export interface RunDetails {
  readonly run: ShownRun;
  readonly checkpoints: readonly (CheckpointRow & { readonly missing?: true })[];
  readonly curves: Curves;
}

const BARS = "▁▂▃▄▅▆▇█";
const SPARK_WIDTH = 32;

/** `runs list` for people. @param losses last training loss by run, where there is one */
export function runsText(runs: readonly ShownRun[], losses: ReadonlyMap<string, number>): string {
  if (runs.length === 0) return "There are no runs yet; headscope train makes one.";
  return table(
    ["run", "status", ...["step", "of", "seed", "loss"].map(right), "updated"],
    runs.map(({ id, status, step, steps, seed, updated }) => {
      const loss = losses.get(id);
      return [
        id,
        status,
        count(step),
        count(steps),
        String(seed),
        loss === undefined ? "" : number(loss),
        time(updated),
      ];
    }),
  );
}

/** `runs show` for people. */
export function runDetailsText({ run, checkpoints, curves }: RunDetails): string {
  const { id, task, status, step, steps, seed, group, error, created, updated } = run;
  const state = [`${status}, step ${count(step)} of ${count(steps)}`, ...(error === undefined ? [] : [error])];
  if (status === "interrupted" || status === "cancelled" || status === "failed")
    state.push(`headscope train --resume ${id} goes on from ${resumePoint(checkpoints)}`);
  const lines = [
    bold(id),
    `${task}, seed ${seed}${group === id ? "" : `, trained together with ${group}`}`,
    ...state,
    dim(`made ${time(created)}, last heard of ${time(updated)}`),
    "",
    "Parameters",
    pairs(runParameters(run)),
  ];
  if (curves.size > 0) lines.push("", "Curves (from left to right: the measured steps)", curvesText(curves));
  if (checkpoints.length > 0) {
    const total = checkpoints.reduce((sum, each) => sum + each.bytes, 0);
    const gone = checkpoints.filter(({ missing }) => missing).map((each) => each.step);
    lines.push(
      "",
      `Checkpoints (${bytes(total)}): ${checkpoints.map((each) => count(each.step)).join(", ")}`,
      ...(gone.length === 0 ? [] : [`The files of ${gone.map((each) => count(each)).join(", ")} are gone.`]),
    );
  }
  return lines.join("\n");
}

function resumePoint(checkpoints: RunDetails["checkpoints"]): string {
  const last = checkpoints.filter(({ missing }) => !missing).at(-1);
  return last === undefined ? "the start" : `step ${count(last.step)}`;
}

function curvesText(curves: Curves): string {
  const whole = [...curves].filter(([name]) => parseHeadMetric(name) === undefined);
  return table(
    ["", right("first"), right("last"), ""],
    [...whole, ...bestHeads(curves)].map(([name, points]) => [
      name,
      number(points[0]!.value),
      number(points.at(-1)!.value),
      sparkline(points.map(({ value }) => value)),
    ]),
    "  ",
  );
}

/** Of each measurement that heads have, the head that ends highest. */
function bestHeads(curves: Curves): [string, readonly MetricPoint[]][] {
  const best = new Map<string, [string, readonly MetricPoint[]]>();
  for (const entry of curves) {
    const [name, points] = entry;
    const measure = parseHeadMetric(name)?.measure;
    if (measure === undefined) continue;
    const rival = best.get(measure);
    if (rival === undefined || points.at(-1)!.value > rival[1].at(-1)!.value) best.set(measure, entry);
  }
  return [...best.values()];
}

/**
 * Values as a row of small bars, lowest to highest; a space where there is no number.
 * @param width characters at most; of more values each bar shows one mean
 */
export function sparkline(values: readonly number[], width = SPARK_WIDTH): string {
  const bars = Math.min(width, values.length);
  const means = Array.from({ length: bars }, (_, i) => {
    const from = Math.floor((i * values.length) / bars);
    const part = values.slice(from, Math.floor(((i + 1) * values.length) / bars)).filter(Number.isFinite);
    return part.length === 0 ? Number.NaN : part.reduce((sum, each) => sum + each, 0) / part.length;
  });
  const finite = means.filter(Number.isFinite);
  const low = Math.min(...finite);
  const range = Math.max(...finite) - low || 1;
  return means
    .map((mean) => (Number.isFinite(mean) ? BARS[Math.round(((mean - low) / range) * (BARS.length - 1))] : " "))
    .join("");
}

/** Everything that a run was made with, by name. */
function runParameters({ spec, task, seed, steps }: ShownRun): Record<string, unknown> {
  const { params, model, training, probes, soup } = spec;
  return { task, ...params, ...model, ...training, steps, seed, probes, ...(soup && { soup }) };
}

/** Difference of two runs: parameters and last measurements, each as [of the first, of the second]; null where absent. */
export interface RunDifference {
  readonly runs: readonly [string, string];
  readonly parameters: Readonly<Record<string, readonly [unknown, unknown]>>;
  readonly metrics: Readonly<Record<string, readonly [number | null, number | null]>>;
}

/** Compares two runs. */
export function difference(a: RunDetails, b: RunDetails): RunDifference {
  const [left, right] = [runParameters(a.run), runParameters(b.run)];
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  const names = new Set([...a.curves.keys(), ...b.curves.keys()]);
  const last = ({ curves }: RunDetails, name: string) => curves.get(name)?.at(-1)?.value ?? null;
  return {
    runs: [a.run.id, b.run.id],
    parameters: Object.fromEntries(
      [...keys]
        .filter((key) => JSON.stringify(left[key]) !== JSON.stringify(right[key]))
        .map((key) => [key, [left[key] ?? null, right[key] ?? null] as const]),
    ),
    metrics: Object.fromEntries([...names].sort().map((name) => [name, [last(a, name), last(b, name)] as const])),
  };
}

/** `runs diff` for people. */
export function differenceText({ runs: [a, b], parameters, metrics }: RunDifference): string {
  const cell = (value: number | null) => (value === null ? "" : number(value));
  const changed = Object.entries(parameters).map(([name, [left, right]]) => [name, plain(left), plain(right)]);
  const measured = Object.entries(metrics)
    .filter(([name]) => parseHeadMetric(name) === undefined)
    .map(([name, [left, right]]) => [
      name,
      cell(left),
      cell(right),
      left === null || right === null ? "" : signed(right - left),
    ]);
  const heads = Object.keys(metrics).length - measured.length;
  return [
    changed.length === 0 ? "The parameters are the same." : table(["parameter", a, b], changed),
    "",
    measured.length === 0
      ? "Nothing was measured."
      : table(["last measured", ...[a, b, "difference"].map(right)], measured),
    ...(heads === 0 ? [] : ["", `${count(heads)} measurements of single heads: see --json.`]),
  ].join("\n");
}

function pairs(parameters: Readonly<Record<string, unknown>>): string {
  const words = Object.entries(parameters)
    .filter(([name]) => name !== "task" && name !== "seed")
    .map(([name, value]) => `${name}=${plain(value)}`);
  const [first, ...rest] = words;
  return wrapped([`  ${first}`, ...rest], 99);
}

function plain(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(plain).join(",");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A time to the second, in UTC. */
export function time(iso: string): string {
  return iso.replace("T", " ").replace(/\.\d+Z$/, " UTC");
}
