import { z } from "zod";
import { experimentCommand, experimentParameters, experiments, runExperiment } from "../../../experiments/index.ts";
import { parameters, shortName } from "../../common/api/fields.ts";
import { PRESETS } from "../../common/words.ts";
import { openStore } from "../../store/store.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind } from "../kind.ts";

/** Runs an experiment and writes its report; what an earlier attempt has trained is used again. */
export const experiment = jobKind({
  name: "experiment",
  fields: () => ({ name: shortName, preset: z.enum(PRESETS), params: parameters.optional() }),
  result: z.object({ experiment: z.string(), preset: z.string(), report: z.string().describe("id of the report") }),
  title: ({ name, preset }) => `experiment ${name}, ${preset}`,

  async check(request) {
    experimentParameters(experiments, request.name, request.preset, request.params);
    return request;
  },

  async run({ name, preset, params: changes = {} }, { emit, signal }) {
    const params = experimentParameters(experiments, name, preset, changes);
    const command = experimentCommand(name, preset, changes);
    const store = openStore();
    try {
      const options = { store, preset, params, command, signal, progress: progressTo(emit) };
      const { id } = await runExperiment(experiments.get(name), options);
      return { experiment: name, preset, report: id! };
    } finally {
      store.close();
    }
  },
});
