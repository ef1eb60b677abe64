import { z } from "zod";
import { probeHistory } from "../../../probes/history.ts";
import { probes } from "../../../probes/index.ts";
import { documentId, parameters, shortName } from "../../common/api/fields.ts";
import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { loadModel } from "../../models/load.ts";
import { checkpointSteps, runIds } from "../../paths.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind, shortHash, writeResult } from "../kind.ts";

/** Scores all heads by a probe at every saved step of a run. */
export const history = jobKind({
  name: "history",
  fields: () => ({ run: shortName, probe: shortName, params: parameters.optional() }),
  result: z.object({ history: documentId.describe("id of the document (headscope.head-history/1)") }),
  title: ({ probe, run }) => `${probe} over the checkpoints of ${run}`,

  async check(request, { store }) {
    store.run(request.run);
    probes.parse(request.probe, request.params);
    return request;
  },

  async run({ run, probe, params = {} }, { emit, signal }) {
    const parsed = probes.parse(probe, params);
    const steps = checkpointSteps(run);
    if (steps.length === 0 && !runIds().includes(run)) throw unknownName("run", run, runIds());
    if (steps.length === 0)
      throw new HeadscopeError("missing", `run ${run} has no saved step yet`, { remedy: "train it further" });
    const load = (step: number) => loadModel(`run:${run}@${step}`, { signal });
    const progress = progressTo(emit);
    const document = await probeHistory(probe, params, { run, steps, load }, { signal, progress });
    return { history: await writeResult(`histories/${run}/${probe}-${shortHash(parsed)}.json`, document) };
  },
});
