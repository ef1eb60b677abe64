import { folderListing, folderQuery, rootRequest } from "../../common/api/models.ts";
import { route } from "../http/route.ts";
import { listFolder } from "../library/folders.ts";

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
