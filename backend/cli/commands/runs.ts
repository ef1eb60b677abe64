import type { Command } from "commander";
import { checkpointSteps } from "../../paths.ts";
import type { Store } from "../../store/store.ts";
import { runs } from "../context.ts";
import { withStore } from "../open-store.ts";
import type { RunDetails, ShownRun } from "../text/runs.ts";
import { registerExport } from "./runs-export.ts";

/** `headscope runs list | show | diff | export | rm`. */
export function register(program: Command): void {
  const command = program.command("runs").description("list, show, compare, export and remove training runs");

  runs(command.command("list").description("list the runs"), async (context) => {
    const { runsText } = await import("../text/runs.ts");
    const { shown, losses } = await withStore((store) => {
      const shown = store.runs().map((run) => shownRun(store, run.id));
      const losses = new Map(
        shown.flatMap(({ id }) => {
          const loss = store.lastMetrics(id).get("loss");
          return loss === undefined ? [] : [[id, loss.value]];
        }),
      );
      return { shown, losses };
    });
    const document = shown.map(({ spec: _, ...run }) => ({ ...run, loss: losses.get(run.id) }));
    await context.print(document, () => runsText(shown, losses));
  });

  runs(
    command.command("show <run>").description("show a run: parameters, curves and checkpoints"),
    async (context, _, id) => {
      const { runText } = await import("../text/runs.ts");
      const details = await withStore((store) => runDetails(store, id!));
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
      await context.print(document, () => runText(details));
    },
  );

  runs(
    command.command("diff <a> <b>").description("compare two runs: parameters that differ, and last measurements"),
    async (context, _, a, b) => {
      const { difference, differenceText } = await import("../text/runs.ts");
      const found = await withStore((store) => difference(runDetails(store, a!), runDetails(store, b!)));
      await context.print(found, () => differenceText(found));
    },
  );

  registerExport(command);

  runs(
    command.command("rm <run>").description("remove a run with its curves and checkpoints"),
    async (context, _, id) => {
      const { bytes } = await import("../text/format.ts");
      const freed = await withStore((store) => {
        const total = runDetails(store, id!).checkpoints.reduce(
          (sum, each) => sum + (each.missing ? 0 : each.bytes),
          0,
        );
        store.removeRun(id!);
        return total;
      });
      await context.print({ run: id, freed }, () => `${id} is removed: ${bytes(freed)} freed.`);
    },
  );
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
