import { HeadscopeError } from "../../common/errors.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { describeValues, planSweep, runSweep } from "../../jobs/sweep.ts";
import { readSweep } from "../../jobs/sweep-file.ts";
import { writeFileAtomic } from "../../paths.ts";
import { openStore } from "../../store/store.ts";
import type { Context } from "../context.ts";
import { sweepCsv, sweepText } from "../text/sweep.ts";
import { valuesText } from "../text/train.ts";

interface SweepCommandOptions {
  out?: string;
}

/** Trains every point of a sweep file that is not trained yet. */
export async function trainSweep(context: Context, { out }: SweepCommandOptions, file: string): Promise<void> {
  const plan = planSweep(await readSweep(file), file);
  if (out !== undefined) await refuseFolder(out);
  const store = openStore();
  try {
    const amount = plan.points.length;
    const title = (i: number): string => `point ${i + 1} of ${amount} ${describeValues(plan.points[i]!.values)}`.trim();
    const results = await runSweep(store, plan, {
      signal: context.signal,
      onProgress: (point, { done, total, values }) => context.progress(done, total, title(point), valuesText(values)),
      onPoint: (point, { runs: trained }) =>
        context.note(`  ${title(point)}: ${trained.map(({ run, status }) => `${run} ${status}`).join(", ")}`),
    });
    if (out !== undefined) await writeFileAtomic(out, sweepCsv(plan, results));
    const { task, varied, seeds } = plan;
    await context.print({ sweep: file, task, varied, seeds, points: results, out }, () =>
      [sweepText(plan, results), ...(out === undefined ? [] : ["", `Written to ${out}.`])].join("\n"),
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
}
