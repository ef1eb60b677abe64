import { join } from "node:path";
import { z } from "zod";
import { tasks } from "../../../synthetic-tasks/index.ts";
import type { Data } from "../../common/api/fields.ts";
import { type SweepDocument, type SweepEntry, sweepEntry } from "../../common/api/sweeps.ts";
import { command, parameterPairs, parameterText } from "../../common/command-line.ts";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { fileInside, writablePath } from "../../files.ts";
import { formatJson, readJson } from "../../json.ts";
import { namesIn, writeFileAtomic } from "../../paths.ts";
import type { Store } from "../../store/store.ts";
import { mainMetric } from "../../training/evaluations.ts";
import type { TrainSpec } from "../../training/spec.ts";
import { shortHash } from "../kind.ts";
import { runsThere } from "../reuse.ts";
import { metricNames, resultOf } from "./results.ts";
import type { SweepPlan } from "./sweep.ts";
import type { Sweep } from "./sweep-file.ts";

/** Folder of the data folder in which sweeps are kept: what is trained where; what came of it is in the runs. */
const SWEEPS = "sweeps";

/** Runs of a sweep that is kept, at most: pages look at all of them at once. */
export const KEPT_RUNS = 500;

const FORMAT = "headscope.sweep/1";

/** Schema of a kept sweep: its entry, and the specification of every point. */
const kept = sweepEntry.omit({ id: true }).extend({
  format: z.literal(FORMAT),
  params: z.record(z.string(), z.unknown()),
  probes: z.array(z.string()),
  metric: z.string(),
  command: z.string(),
  points: z.array(
    z.object({
      values: z.record(z.string(), z.unknown()),
      spec: z.custom<TrainSpec>((spec) => spec instanceof Object),
    }),
  ),
});
type Kept = z.output<typeof kept>;

/** Says of a sweep that it has a diagram and is kept: one or two axes of a grid, and no more runs than a page can show. */
export function isKept({ axes, points, seeds }: SweepPlan): boolean {
  const cells = axes.reduce((product, { values }) => product * values.length, 1);
  const whole = axes.length >= 1 && axes.length <= 2 && cells === points.length;
  return whole && points.length * seeds.length <= KEPT_RUNS;
}

/** Keeps a sweep under the name that the same trainings always have. @returns its id */
export async function keepSweep(folder: string, sweep: Sweep, plan: SweepPlan): Promise<string> {
  const { task, axes, seeds, points } = plan;
  const id = `${task}-${shortHash([points.map(({ spec }) => spec), seeds])}`;
  if ((await read(folder, id).catch(() => undefined)) !== undefined) return id;
  const { spec } = points[0]!;
  const document = {
    ...{ format: FORMAT, task, axes, seeds, created: new Date().toISOString() },
    ...{ params: sweep.params, probes: spec.probes, metric: mainMetric(tasks.get(task), spec.params) },
    ...{ command: sweepCommand(sweep, plan), points },
  } satisfies Data<typeof kept>;
  await writeFileAtomic(await writablePath(folder, `${SWEEPS}/${id}.json`), `${formatJson(document)}\n`);
  return id;
}

/** The sweeps that are kept, newest first; files that are none of this version are left out. */
export async function keptSweeps(folder: string): Promise<SweepEntry[]> {
  const entries = await Promise.all(
    ids(folder).map(async (id) => {
      try {
        return entryOf(id, await read(folder, id));
      } catch (error) {
        if (error instanceof HeadscopeError) return undefined;
        throw error;
      }
    }),
  );
  return entries.filter((entry) => entry !== undefined).sort((a, b) => b.created.localeCompare(a.created));
}

/**
 * A kept sweep with what its runs have measured so far.
 * @throws HeadscopeError `missing` where there is none, `input` for a file that is none of this version
 */
export async function findSweep(store: Store, id: string): Promise<SweepDocument> {
  const document = await read(store.folder, id);
  const { seeds, params, probes, metric, command } = document;
  const specs = document.points.map(({ spec }) => spec);
  const runs = runsThere(store, specs, seeds).map((each) => each.map((run) => run.id));
  const points = document.points.map(({ values }, i) => resultOf(store, values, runs[i]!));
  const metrics = metricNames(points.flatMap((point) => point.runs));
  return { ...entryOf(id, document), params, probes, metric, metrics, points, command };
}

/** Path of the file of a kept sweep. @throws HeadscopeError `missing` where there is none, `input` for a link out of the folder */
export async function keptSweepPath(folder: string, id: string): Promise<string> {
  const path = ids(folder).includes(id) ? await fileInside(folder, join(SWEEPS, `${id}.json`)) : undefined;
  if (path !== undefined) return path;
  const { remedy } = unknownName("sweep", id, ids(folder));
  throw new HeadscopeError("missing", `there is no sweep "${id.slice(0, 200)}"`, { remedy });
}

/** The command line of a sweep over a grid. */
function sweepCommand({ task, params, probes }: Sweep, { axes, seeds }: SweepPlan): string {
  return command(["sweep", task], {
    over: axes.map(({ name, values }) => `${name}=${axisText(values)}`),
    param: parameterPairs(params),
    seeds: seeds.join(","),
    probes: probes && (probes.join(",") || "none"),
  });
}

/** Values of an axis as `--over` takes them. */
function axisText(values: readonly unknown[]): string {
  return values.some(Array.isArray) ? JSON.stringify(values) : values.map(parameterText).join(",");
}

function entryOf(id: string, { task, axes, seeds, created }: Kept): SweepEntry {
  return { id, task, axes, seeds, created };
}

async function read(folder: string, id: string): Promise<Kept> {
  const path = await keptSweepPath(folder, id);
  const parsed = kept.safeParse(await readJson(path, "sweep"));
  if (parsed.success) return parsed.data;
  throw new HeadscopeError("input", `${path} is not a ${FORMAT} document`, { remedy: "sweep again" });
}

function ids(folder: string): string[] {
  return namesIn(join(folder, SWEEPS)).flatMap((name) => /^([a-z0-9-]+)\.json$/.exec(name)?.[1] ?? []);
}
