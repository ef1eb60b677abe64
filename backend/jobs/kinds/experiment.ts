import { z } from "zod";
import { experimentCommand, experimentParameters, experiments, runExperiment } from "../../../experiments/index.ts";
import { parameters, shortName } from "../../common/api/fields.ts";
import { PRESETS } from "../../common/presets.ts";
import { openStore } from "../../store/store.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind } from "../kind.ts";

/** Runs an experiment and writes its report; what an earlier attempt has trained is used again. */
export const experiment = jobKind({
  name: "experiment",
  fields: () => ({ name: shortName, preset: z.enum(PRESETS), params: parameters.optional() }),
  title: ({ name, preset }) => `experiment ${name}, ${preset}`,

  async check(request) {
    experimentParameters(experiments, request.name, request.preset, request.params);
    return request;
  },

  /** @returns `report`: its id */
  async run(
    { name, preset, params: given = {} },
    { emit, signal },
  ): Promise<{ experiment: string; preset: string; report: string }> {
    const params = experimentParameters(experiments, name, preset, given);
    const command = experimentCommand(name, preset, given);
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
