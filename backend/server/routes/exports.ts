import { z } from "zod";
import { exportRequest, exportResult, importRequest } from "../../common/api/exports.ts";
import { documentId, shortName } from "../../common/api/fields.ts";
import { scoresEntrySchema } from "../../common/api/heads.ts";
import { route, sendFile } from "../http/route.ts";
import { exportedFile, makeExport } from "../library/exporting.ts";
import { readForeign } from "../library/importing.ts";

export const exportRoutes = [
  route({
    method: "post",
    path: "/exports",
    summary: "Writes scores or a mask in another project's format, below the data folder's exports/",
    body: () => exportRequest,
    size: "documentBytes",
    answer: { status: 201, description: "ExportResult", schema: exportResult },
    handle: ({ body, signal }, context) => makeExport(body, context, signal),
  }),
  route({
    method: "get",
    path: "/exports/:id/files/*name",
    summary: "One file of an export",
    params: z.object({ id: shortName, name: documentId }),
    answer: { description: "The file", type: "application/octet-stream" },
    async handle({ params, response }, { folder }) {
      const path = await exportedFile(folder, params.id, params.name);
      response.attachment(params.name.split("/").at(-1)!).type("application/octet-stream");
      return sendFile(response, path);
    },
  }),
  route({
    method: "post",
    path: "/imports",
    summary:
      "Another project's head file becomes scores: its contents by name, or a path in the data folder or a given root",
    body: importRequest,
    size: "documentBytes",
    answer: { status: 201, description: "ScoresEntry", schema: scoresEntrySchema },
    handle: ({ body, signal }, context) => readForeign(body, context, signal),
  }),
];
