import { z } from "zod";
import { route } from "../http/route.ts";
import { listFolder } from "../library/folders.ts";

const folderPath = z.string().min(1).max(1_024);

export const folderRoutes = [
  route({
    method: "get",
    path: "/folders",
    summary: "Folders and models in a folder that may be named; without a path, these folders",
    query: z.strictObject({ path: folderPath.optional().describe("absolute, or from the data folder") }),
    answer: { description: "FolderListing" },
    handle: ({ query: { path } }, { roots }) => listFolder(roots.folders, path),
  }),
  route({
    method: "post",
    path: "/roots",
    summary: "Lets requests name what lies in a folder, for this server's life; only where no other machine reaches it",
    body: () => z.strictObject({ path: folderPath.describe("absolute") }),
    answer: { status: 201, description: "FolderListing of the folders that may be named" },
    async handle({ body }, { roots }) {
      await roots.add(body.path);
      return listFolder(roots.folders);
    },
  }),
];
