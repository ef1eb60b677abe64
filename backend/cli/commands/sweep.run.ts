import { tasks } from "../../../synthetic-tasks/index.ts";
import { HeadscopeError, nearestNames } from "../../common/errors.ts";
import type { Figure } from "../../common/figures/figure.ts";
import { phaseDiagram } from "../../common/figures/phase-diagram.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { Remaining } from "../../jobs/remaining.ts";
import { isKept, keepSweep } from "../../jobs/sweeps/kept.ts";
import type { SweepResult } from "../../jobs/sweeps/results.ts";
import { describeValues, planSweep, runSweep, type SweepPlan } from "../../jobs/sweeps/sweep.ts";
import { writeFileAtomic } from "../../paths.ts";
import { toPng } from "../../reports/png.ts";
import { toSvg } from "../../reports/svg.ts";
import { openStore, type Store } from "../../store/store.ts";
import { evaluationMetrics, mainMetric } from "../../training/evaluations.ts";
import type { Context } from "../context.ts";
import { type SweepOptions, sweepOf } from "../inputs/sweep.ts";
import { diagramText, sweepCsv, sweepText } from "../text/sweep.ts";
import { leftText, valuesText } from "../text/train.ts";

interface SweepCommandOptions extends SweepOptions {
  out?: string;
  figure?: string;
  metric?: string;
}

/** Trains every point of a sweep that is not trained yet. */
export async function trainSweep(context: Context, options: SweepCommandOptions, given: string): Promise<void> {
  const { out, figure: picture } = options;
  const { sweep, label } = await sweepOf(given, options);
  const plan = planSweep(sweep, label);
  const metric = metricOf(plan, options);
  for (const file of [out, picture]) if (file !== undefined) await refuseFolder(file);
  const store = openStore();
  try {
    const id = isKept(plan) ? await keepSweep(store.folder, sweep, plan) : undefined;
    const results = await train(context, store, plan);
    const { task, varied, axes, seeds } = plan;
    const figure = id === undefined ? undefined : phaseDiagram({ task, axes, seeds, points: results }, metric);
    if (out !== undefined) await writeFileAtomic(out, sweepCsv(plan, results));
    if (picture !== undefined) await writeFileAtomic(picture, await pictureOf(figure!, picture));
    const written = [out, picture].filter((file) => file !== undefined);
    const document = { sweep: id ?? label, task, varied, seeds, points: results, metric, figure, out, picture };
    await context.print(document, () =>
      [
        sweepText(plan, results),
        ...(figure === undefined ? [] : ["", diagramText(figure)]),
        ...(written.length === 0 ? [] : ["", `Written to ${written.join(" and ")}.`]),
      ].join("\n"),
    );
    refuseFailures(results);
  } finally {
    store.close();
  }
}

/** Trains the points, and tells of the whole and of the time left. */
function train(context: Context, store: Store, plan: SweepPlan): Promise<SweepResult[]> {
  const remaining = new Remaining();
  const amount = plan.points.length;
  const title = (i: number): string => `point ${i + 1} of ${amount} ${describeValues(plan.points[i]!.values)}`.trim();
  return runSweep(store, plan, {
    signal: context.signal,
    onProgress(point, progress) {
      const now = performance.now();
      remaining.push(progress, now);
      const note = [leftText(remaining.milliseconds(now)), title(point), valuesText(progress.values)];
      context.progress(progress.done, progress.total, progress.label, note.filter(Boolean).join("  "));
    },
    onPoint: (point, { runs }) =>
      context.note(`  ${title(point)}: ${runs.map(({ run, status }) => `${run} ${status}`).join(", ")}`),
  });
}

/** The metric of the diagram. @throws HeadscopeError `usage` for one that no run will have, or a picture that no sweep of this form has */
function metricOf(plan: SweepPlan, { metric, figure }: SweepCommandOptions): string {
  const task = tasks.get(plan.task);
  const [first] = plan.points;
  const { params } = first!.spec;
  const names = ["loss", ...evaluationMetrics(task, params)];
  if (metric !== undefined && !names.includes(metric))
    throw new HeadscopeError("usage", `${task.name} has no measure "${metric.slice(0, 80)}"`, {
      remedy: `did you mean ${nearestNames(metric, names).join(", ")}?`,
      field: "metric",
    });
  if (figure !== undefined && !isKept(plan))
    throw new HeadscopeError("usage", "a diagram needs a grid over one or two parameters", {
      remedy: "leave --figure out, or put the other parameters into params",
      field: "figure",
    });
  if (figure !== undefined && !/\.(svg|png)$/i.test(figure))
    throw new HeadscopeError("usage", `--figure ${figure} is neither .svg nor .png`, {
      remedy: "end its name in one of them",
      field: "figure",
    });
  return metric ?? mainMetric(task, params);
}

async function pictureOf(figure: Figure, file: string): Promise<string | Uint8Array> {
  return /\.svg$/i.test(file) ? toSvg(figure) : toPng(toSvg(figure));
}

function refuseFailures(results: readonly SweepResult[]): void {
  const all = results.flatMap(({ runs }) => runs);
  const [bad, ...others] = all.filter(({ status }) => status !== "done");
  if (bad === undefined) return;
  throw new HeadscopeError("input", `${others.length + 1} of ${all.length} runs did not end well`, {
    remedy: `see headscope runs show ${bad.run}`,
  });
}
