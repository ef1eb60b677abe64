import { z } from "zod";
import { modelRef } from "../../common/api/fields.ts";
import {
  folderListing,
  folderQuery,
  modelEntry,
  modelInfoSchema,
  removedModel,
  rootRequest,
} from "../../common/api/models.ts";
import { removeModel } from "../../models/sources/pull.ts";
import { route } from "../http/route.ts";
import { listFolder } from "../library/folders.ts";

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
    answer: { description: "ModelInfo", schema: modelInfoSchema },
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

export const folderRoutes = [
  route({
    method: "get",
    path: "/folders",
    summary: "Folders and models in a folder that may be named; without a path, these folders",
    query: folderQuery,
    answer: { description: "FolderListing", schema: folderListing },
    handle: ({ query: { path } }, { roots }) => listFolder(roots.folders, path),
  }),
  route({
    method: "post",
    path: "/roots",
    summary: "Lets requests name what lies in a folder, for this server's life; only where no other machine reaches it",
    body: () => rootRequest,
    answer: { status: 201, description: "FolderListing of the folders that may be named", schema: folderListing },
    async handle({ body }, { roots }) {
      await roots.add(body.path);
      return listFolder(roots.folders);
    },
  }),
];
