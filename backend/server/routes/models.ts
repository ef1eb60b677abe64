import { z } from "zod";
import { modelRef } from "../../common/api/fields.ts";
import { modelEntry, modelInfo, removedModel } from "../../common/api/models.ts";
import { removeModel } from "../../models/sources/pull.ts";
import { route } from "../http/route.ts";

export const modelRoutes = [
  route({
    method: "get",
    path: "/models",
    summary:
      "The models of the catalogue, those in the Hugging Face cache, those opened by their path, then the trained ones",
    answer: { description: "A list of ModelEntry", schema: z.array(modelEntry) },
    handle: (_, { models }) => models.list(),
  }),
  route({
    method: "get",
    path: "/models/:ref",
    summary: "What a model is: its shape, weights and tokenizer",
    params: z.object({ ref: modelRef }),
    answer: { description: "ModelInfo", schema: modelInfo },
    handle: ({ params, signal }, { models }) => models.describe(params.ref, signal),
  }),
  route({
    method: "delete",
    path: "/models/:ref",
    summary: "Removes a fetched model; it can be fetched again",
    params: z.object({ ref: modelRef.describe("catalogue name, or hf:ORG/NAME[@REVISION]") }),
    answer: { description: "{ freed }, in bytes", schema: removedModel },
    handle: async ({ params }) => ({ freed: await removeModel(params.ref) }),
  }),
];
