import { z } from "zod";
import { parameters, seedSchema, shortName } from "../../common/api/fields.ts";
import { sweepGrid } from "../../common/api/sweeps.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { counted } from "../../common/text.ts";
import { openStore } from "../../store/store.ts";
import { jobKind } from "../kind.ts";
import { KEPT_RUNS, keepSweep } from "../sweeps/kept.ts";
import { planSweep, runSweep, type SweepPlan } from "../sweeps/sweep.ts";
import { parseSweep, type Sweep } from "../sweeps/sweep-file.ts";

/** Trains a task over one or two parameters and several seeds; what is trained already is used again. */
export const sweep = jobKind({
  name: "sweep",
  fields: ({ seeds }) => ({
    task: shortName,
    grid: sweepGrid,
    params: parameters.optional().describe("the same at every point"),
    seeds: z.array(seedSchema).min(1).max(seeds).optional().describe("default 0"),
    probes: z.array(shortName).max(16).optional().describe("measured along; default as the task has them"),
  }),
  result: z.object({
    sweep: z.string().describe("id of the sweep"),
    failed: z.int().describe("runs that did not end well"),
  }),
  title: ({ task, grid }) => `${task} over ${Object.keys(grid).join(" and ")}`,

  async check(request) {
    planned(request);
    return request;
  },

  async run(request, { emit, signal }) {
    const { file, plan } = planned(request);
    const store = openStore();
    try {
      const id = await keepSweep(store.folder, file, plan);
      const onProgress = (_: number, progress: object) => void emit({ event: "progress", ...progress });
      const results = await runSweep(store, plan, { signal, onProgress });
      const failed = results.flatMap(({ runs }) => runs).filter(({ status }) => status !== "done").length;
      return { sweep: id, failed };
    } finally {
      store.close();
    }
  },
});

/** The sweep that a request asks for. @throws HeadscopeError `usage` naming the parameter, `input` the axis */
function planned({ kind: _, ...request }: { readonly kind: string }): { file: Sweep; plan: SweepPlan } {
  const file = parseSweep(request, "the sweep");
  const axes = Object.values(file.grid ?? {});
  const runs = axes.reduce((product, values) => product * values.length, file.seeds.length);
  // Counted before every point is looked at, which takes its time.
  if (axes.length === 0 || axes.length > 2 || runs > KEPT_RUNS)
    throw new HeadscopeError(
      "usage",
      `the sweep has ${counted(axes.length, "axis", "axes")} and ${counted(runs, "run")}`,
      {
        remedy: `give values of one or two parameters, and no more than ${KEPT_RUNS} runs`,
        field: "grid",
      },
    );
  return { file, plan: planSweep(file, "the sweep") };
}
