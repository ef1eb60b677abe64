import { z } from "zod";
import { type ProbeRequest, probeMany, probes as registry } from "../../../probes/index.ts";
import { documentId, modelRef, parameters, seedSchema, shortName } from "../../common/api/fields.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { loadModel } from "../../models/load.ts";
import type { Model } from "../../models/model.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { slug } from "../../paths.ts";
import { progressTo } from "../../workers/handler.ts";
import { jobKind, shortHash, writeResult } from "../kind.ts";

/** Scores all heads by some probes; every document is written as soon as it is there. */
export const probe = jobKind({
  name: "probe",
  fields: () => ({
    model: modelRef,
    probes: z
      .array(z.strictObject({ name: shortName, params: parameters.optional() }))
      .min(1)
      .max(32),
    seed: seedSchema.optional(),
  }),
  result: z.object({ scores: z.array(documentId).describe("ids of the score documents, in the order of the probes") }),
  title: ({ probes, model }) => `${probes.map(({ name }) => name).join(", ")} on ${model}`,

  async check(request, { models }) {
    for (const { name, params } of request.probes) registry.parse(name, params);
    return { ...request, model: await models.allowed(request.model) };
  },

  async run({ model: ref, probes, seed = 0 }, { emit, signal }) {
    for (const { name, params } of probes) registry.parse(name, params);
    const model = await loadModel(parseReference(ref, "absolute"), { signal });
    try {
      const ids = new Map<ProbeRequest, string>();
      // Probes that are sums over patterns may share a forward pass; each of the others is by itself.
      const shared = probes.filter(({ name }) => registry.get(name).sums !== undefined);
      const others = probes.filter((each) => !shared.includes(each));
      for (const group of [...(shared.length > 0 ? [shared] : []), ...others.map((each) => [each])]) {
        const documents = await probeMany(model, group, { seed, signal, progress: progressTo(emit) });
        for (const [i, document] of documents.entries()) ids.set(group[i]!, await writeScores(model, document));
      }
      return { scores: probes.map((each) => ids.get(each)!) };
    } finally {
      model.dispose();
    }
  },
});

function writeScores(model: Model, document: HeadScores): Promise<string> {
  const { probe: name, params, tokens, seed: drawn } = document;
  const hash = shortHash([model.digest, params, tokens, drawn]);
  return writeResult(`scores/${slug(model.ref)}/${name}-${hash}.json`, document);
}
