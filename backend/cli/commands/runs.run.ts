import { checkpointSteps } from "../../paths.ts";
import type { Store } from "../../store/store.ts";
import type { Context } from "../context.ts";
import { withStore } from "../store.ts";
import { bytes } from "../text/format.ts";
import { difference, differenceText, type RunDetails, runDetailsText, runsText, type ShownRun } from "../text/runs.ts";

/** Prints the training runs. */
export async function listRuns(context: Context): Promise<void> {
  const { runs, losses } = await withStore((store) => {
    const runs = store.runs().map((run) => shownRun(store, run.id));
    const losses = new Map(
      runs.flatMap(({ id }) => {
        const loss = store.lastMetrics(id).get("loss");
        return loss === undefined ? [] : [[id, loss.value]];
      }),
    );
    return { runs, losses };
  });
  const document = runs.map(({ spec: _, ...run }) => ({ ...run, loss: losses.get(run.id) }));
  await context.print(document, () => runsText(runs, losses));
}

/** Prints a run with its curves and checkpoints. */
export async function showRun(context: Context, _: object, id: string): Promise<void> {
  const details = await withStore((store) => runDetails(store, id));
  const { run, checkpoints, curves } = details;
  const document = {
    ...run,
    checkpoints,
    metrics: Object.fromEntries([...curves].map(([name, points]) => [name, points.at(-1)!.value])),
    curves: Object.fromEntries(
      [...curves].map(([name, points]) => [
        name,
        { steps: points.map(({ step }) => step), values: points.map(({ value }) => value) },
      ]),
    ),
  };
  await context.print(document, () => runDetailsText(details));
}

/** Prints the parameters in which two runs differ, and their last measurements. */
export async function compareRuns(context: Context, _: object, a: string, b: string): Promise<void> {
  const comparison = await withStore((store) => difference(runDetails(store, a), runDetails(store, b)));
  await context.print(comparison, () => differenceText(comparison));
}

/** Removes a run with its curves and checkpoints. */
export async function removeRun(context: Context, _: object, id: string): Promise<void> {
  const freed = await withStore((store) => {
    const total = runDetails(store, id).checkpoints.reduce((sum, each) => sum + (each.missing ? 0 : each.bytes), 0);
    store.removeRun(id);
    return total;
  });
  await context.print({ run: id, freed }, () => `${id} is removed: ${bytes(freed)} freed.`);
}

function shownRun(store: Store, id: string): ShownRun {
  const run = store.run(id);
  return { ...run, status: store.shownStatus(run) };
}

function runDetails(store: Store, id: string): RunDetails {
  const run = shownRun(store, id);
  const there = new Set(checkpointSteps(id, store.folder));
  return {
    run,
    checkpoints: store.checkpoints(id).map((row) => (there.has(row.step) ? row : { ...row, missing: true as const })),
    curves: store.metrics(id),
  };
}
