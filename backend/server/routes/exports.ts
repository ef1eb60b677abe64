import { z } from "zod";
import { headMaskSchema, headScoresSchema } from "../../common/api/documents.ts";
import { documentId, modelRef, parameters, shortName } from "../../common/api/fields.ts";
import { atMostKeys } from "../../common/definitions/bounded.ts";
import { route, SENT } from "../http/route.ts";
import { exportedFile, makeExport } from "../library/exporting.ts";
import { IMPORTED_FILES, readForeign } from "../library/importing.ts";

const id = documentId.describe("id of a document in the data folder");

export const exportRoutes = [
  route({
    method: "post",
    path: "/exports",
    summary: "Writes scores or a mask in another project's format, below the data folder's exports/",
    body: () =>
      z.strictObject({
        format: shortName,
        scores: z.union([id, headScoresSchema]).optional(),
        mask: z.union([id, headMaskSchema]).optional(),
        params: parameters.optional(),
        model: modelRef.optional().describe("needed by formats that write weights"),
      }),
    size: "documentBytes",
    answer: { status: 201, description: "ExportResult" },
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
      await new Promise<void>((done, fail) =>
        response.sendFile(path, { dotfiles: "allow", cacheControl: false }, (error) => (error ? fail(error) : done())),
      );
      return SENT;
    },
  }),
  route({
    method: "post",
    path: "/imports",
    summary:
      "Another project's head file becomes scores: its contents by name, or a path in the data folder or a given root",
    body: ({ documentBytes }) => {
      const common = { format: shortName, model: modelRef, params: parameters.optional() };
      return z.union([
        z.strictObject({
          ...common,
          files: atMostKeys(
            z.record(
              z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "must be a plain file name"),
              z.string().max(documentBytes),
            ),
            IMPORTED_FILES,
          ),
        }),
        z.strictObject({ ...common, path: z.string().min(1).max(4096) }),
      ]);
    },
    size: "documentBytes",
    answer: { status: 201, description: "ScoresEntry" },
    handle: ({ body, signal }, context) => readForeign(body, context, signal),
  }),
];
