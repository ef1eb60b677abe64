import { command } from "../../../../backend/common/command-line.ts";
import type { JobRequest } from "../../../../backend/jobs/kinds/index.ts";
import type { Draft } from "../runs/form.ts";

/** Axes of a phase diagram. */
export const AXES = [0, 1] as const;

/** An axis of a sweep as the form has it. */
export interface AxisDraft {
  /** Name of a parameter; "" for none. */
  readonly name: string;
  /** Values with commas between them, or a JSON list where they are lists. */
  readonly values: string;
}

/** The values of an axis's text. */
export function axisValues(text: string): unknown[] {
  if (text.trimStart().startsWith("["))
    try {
      const list: unknown = JSON.parse(text);
      if (Array.isArray(list)) return list;
    } catch {
      // not finished yet
    }
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

/** The values to try of each parameter that an axis names and gives values; each value once. */
export function gridOf(axes: readonly AxisDraft[]): Record<string, unknown[]> {
  const whole = axes.map(({ name, values }) => [name, distinct(axisValues(values))] as const);
  return Object.fromEntries(whole.filter(([name, values]) => name !== "" && values.length > 0));
}

function distinct(values: readonly unknown[]): unknown[] {
  return [...new Map(values.map((value) => [JSON.stringify(value), value])).values()];
}

/** Number of points of a grid; 0 where nothing varies. */
export function pointCount(grid: Readonly<Record<string, readonly unknown[]>>): number {
  const lists = Object.values(grid);
  return lists.length === 0 ? 0 : lists.reduce((product, values) => product * values.length, 1);
}

/** The body of POST /api/jobs that sweeps a draft over a grid, whose parameters the draft's own values give way to. */
export function sweepRequest(
  { task, params, probes }: Draft,
  seeds: readonly number[],
  grid: Readonly<Record<string, readonly unknown[]>>,
): JobRequest {
  return { kind: "sweep", task, grid, params: without(params, grid), seeds, ...(probes ? { probes } : {}) };
}

/** The command line that sweeps the same. */
export function sweepCommand(
  { task, params, probes }: Draft,
  seeds: readonly number[],
  grid: Readonly<Record<string, readonly unknown[]>>,
): string {
  const text = (values: readonly unknown[]) =>
    values.some((value) => typeof value === "object") ? JSON.stringify(values) : values.join(",");
  return command(["sweep", task], {
    over: Object.entries(grid).map(([name, values]) => `${name}=${text(values)}`),
    param: Object.entries(without(params, grid)).map(([name, value]) => `${name}=${value}`),
    seeds: seeds.join(","),
    probes: probes === undefined ? undefined : probes.join(",") || "none",
  });
}

function without(params: Draft["params"], grid: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(params).filter(([name]) => !Object.hasOwn(grid, name)));
}
