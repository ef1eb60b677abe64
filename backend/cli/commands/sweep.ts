import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { runs } from "../context.ts";

interface SweepOptions {
  out?: string;
}

const HELP = `
A sweep file, in YAML or JSON:

  task: induction
  params: { steps: 1000 }          # the same at every point
  grid:                            # every combination is a point
    n_heads: [2, 4]
    learning_rate: [0.001, 0.003]
  seeds: [0, 1]                    # each point is trained with each seed
  probes: [induction]              # measured along with the evaluations

or, in place of grid, points at random:

  random:
    count: 10
    seed: 0
    learning_rate: { logUniform: [0.0003, 0.03] }
    d_model: { choices: [32, 64] }
    n_layers: { integers: [1, 3] }
    weight_decay: { uniform: [0, 0.1] }

A sweep that was stopped goes on when it is run again; what is trained is not trained twice.`;

/** `headscope sweep FILE`: trains a task at many points. */
export function register(program: Command): void {
  const command = program
    .command("sweep <file>")
    .description("train a task over a grid of parameters, or at random points, and several seeds")
    .option("--out <file>", "CSV file to write, a line a run")
    .addHelpText("after", HELP);
  runs<SweepOptions>(command, async (context, { out }, file) => {
    const [
      { readSweep },
      { planSweep, runSweep, describeValues },
      { openStore },
      { sweepCsv, sweepText },
      { valuesText },
    ] = await Promise.all([
      import("../../jobs/sweep-file.ts"),
      import("../../jobs/sweep.ts"),
      import("../../store/store.ts"),
      import("../text/sweep.ts"),
      import("../text/train.ts"),
    ]);
    const plan = planSweep(await readSweep(file!), file!);
    if (out !== undefined) await (await import("../../exports/folder.ts")).refuseFolder(out);
    const store = openStore();
    try {
      const amount = plan.points.length;
      const title = (i: number): string =>
        `point ${i + 1} of ${amount} ${describeValues(plan.points[i]!.values)}`.trim();
      const results = await runSweep(store, plan, {
        signal: context.signal,
        onProgress: (point, { done, total, values }) => context.progress(done, total, title(point), valuesText(values)),
        onPoint: (point, { runs: trained }) =>
          context.note(`  ${title(point)}: ${trained.map(({ run, status }) => `${run} ${status}`).join(", ")}`),
      });
      if (out !== undefined) await (await import("../../paths.ts")).writeFileAtomic(out, sweepCsv(plan, results));
      const { task, varied, seeds } = plan;
      await context.print(
        { sweep: file, task, varied, seeds, points: results, ...(out === undefined ? {} : { out }) },
        () => [sweepText(plan, results), ...(out === undefined ? [] : ["", `Written to ${out}.`])].join("\n"),
      );
      const all = results.flatMap(({ runs: trained }) => trained);
      const [bad, ...others] = all.filter(({ status }) => status !== "done");
      if (bad !== undefined)
        throw new HeadscopeError("input", `${others.length + 1} of ${all.length} runs did not end well`, {
          remedy: `see headscope runs show ${bad.run}`,
        });
    } finally {
      store.close();
    }
  });
}
