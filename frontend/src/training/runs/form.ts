import type { Definitions } from "../../../../backend/common/api/definitions.ts";
import type { RunDetail, TrainRequest } from "../../../../backend/common/api/runs.ts";
import { command, parameterText } from "../../../../backend/common/command-line.ts";
import type { Flag } from "../../../../backend/common/definitions/definition.ts";
import { TRAIN_PARTS, type TrainPart } from "../../../../backend/common/words.ts";
import { defaultText } from "../../components/controls/flags.ts";

/** Parameters of a run by its task's definition. */
type TaskFlags = Pick<Definitions["tasks"][number], "flags" | "train">;

/** All parameters of a run of a task. */
export function runFlags({ flags, train }: TaskFlags): readonly Flag[] {
  return [...flags, ...train];
}

/** Parameters of a run that decide about one thing. */
export interface FlagGroup {
  readonly title: string;
  readonly flags: readonly Flag[];
}

const PART_TITLES = {
  model: "Model",
  training: "Training",
  changes: "Freezing, resets and pruning",
} as const satisfies Record<TrainPart, string>;

/** Parts the parameters of a run of a task by what they decide. */
export function groupFlags({ flags, train }: TaskFlags): FlagGroup[] {
  const parts = TRAIN_PARTS.map((name) => ({
    title: PART_TITLES[name],
    flags: train.filter(({ part }) => part === name),
  }));
  return [{ title: "Task", flags }, ...parts];
}

/** Settings of a new run; parameters are those that differ from the defaults, as text. */
export interface Draft {
  readonly task: string;
  readonly params: Readonly<Record<string, string>>;
  readonly seeds: string;
  /** Absent for those of the task's defaults. */
  readonly probes?: readonly string[];
}

/** The values of a form that differ from the defaults; blank ones count as default. */
export function changedParams(
  flags: readonly Flag[],
  values: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    flags.flatMap((flag) => {
      const value = values[flag.name]?.trim() ?? "";
      return value === "" || value === defaultText(flag) ? [] : [[flag.name, value]];
    }),
  );
}

/** A draft with the parameters, seeds and probes of a run. */
export function draftOf({ spec, seed }: Pick<RunDetail, "spec" | "seed">, flags: readonly Flag[]): Draft {
  const all = { ...spec.params, ...spec.model, ...spec.training };
  const texts = Object.fromEntries(Object.entries(all).map(([name, value]) => [name, parameterText(value)]));
  return { task: spec.task, params: changedParams(flags, texts), seeds: String(seed), probes: spec.probes };
}

/** Seeds of a text such as "0, 1" or "0-3". @returns what is wrong with it in words otherwise */
export function readSeeds(text: string): { seeds: number[] } | { problem: string } {
  const parts = text.split(/[\s,]+/).filter((part) => part !== "");
  if (parts.length === 0) return { problem: "give a seed, such as 0" };
  const seeds = parts.flatMap((part) => {
    const range = /^(\d+)-(\d+)$/.exec(part);
    if (range === null) return [/^\d+$/.test(part) ? Number(part) : Number.NaN];
    const [low, high] = [Number(range[1]), Number(range[2])];
    return Array.from({ length: Math.min(100, Math.max(0, high - low + 1)) }, (_, i) => low + i);
  });
  if (seeds.length === 0 || seeds.some(Number.isNaN))
    return { problem: "give whole numbers from 0, such as 0, 1 or 0-3" };
  if (new Set(seeds).size < seeds.length) return { problem: "give each seed once" };
  return { seeds };
}

/** The body of POST /api/runs. */
export function draftRequest({ task, params, probes }: Draft, seeds: readonly number[]): TrainRequest {
  return { task, params, seeds, ...(probes === undefined ? {} : { probes }) };
}

/** The command line that trains the same. */
export function trainCommand({ task, params, probes }: Draft, seeds: readonly number[]): string {
  return command(["train", task], {
    ...(seeds.length === 1 ? { seed: seeds[0]! } : { seeds: seeds.join(",") }),
    probes: probes === undefined ? undefined : probes.join(",") || "none",
    param: Object.entries(params).map(([name, value]) => `${name}=${value}`),
  });
}
