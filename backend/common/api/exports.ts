import { z } from "zod";
import { atMostKeys } from "../definitions/bounded.ts";
import { headMaskSchema, headScoresSchema } from "./documents.ts";
import { type Bounds, type Data, documentId, modelRef, parameters, shortName } from "./fields.ts";

/** Most files of one import. */
export const IMPORTED_FILES = 16;

const id = documentId.describe("id of a document in the data folder");

/** Schema of a request that writes a format below the data folder's exports/; which document it takes is in its definition. */
export const exportRequest = z.strictObject({
  format: shortName,
  scores: z.union([id, headScoresSchema]).optional(),
  mask: z.union([id, headMaskSchema]).optional(),
  params: parameters.optional(),
  model: modelRef.optional().describe("needed by formats that write weights"),
});

/** Schema of what a worker has written: a file, or a folder with the names of its files. */
export const written = z.object({ path: z.string(), files: z.array(z.string()) });

/** Schema of what an export has written. */
export const exportResult = z.object({
  id: z.string(),
  format: z.string(),
  path: z.string().describe("absolute path of the file or folder"),
  files: z.array(
    z.object({
      name: z.string(),
      bytes: z.int(),
      url: z.string().describe("downloads it"),
      text: z.string().optional().describe("its beginning where it is text, at most 20 kB"),
    }),
  ),
  command: z.string().describe("the command line that writes the same"),
});
export type ExportResult = Data<typeof exportResult>;

/** Schema of another project's head file: its contents by name, or a path inside the data folder or a given root. */
export function importRequest({ documentBytes }: Bounds) {
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
}
