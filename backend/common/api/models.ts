import { z } from "zod";
import { headModelSchema } from "./documents.ts";
import type { Data } from "./fields.ts";
import { modelConfigSchema } from "./model-config.ts";

const licenceTerms = z.object({
  name: z.string(),
  url: z.string(),
  meaning: z.string().describe("their meaning, in a sentence"),
});
/** Terms that a person accepts before a model is fetched, since they ask more than a usual licence of open software. */
export type LicenceTerms = Data<typeof licenceTerms>;

/** Schema of a model in the list: of the catalogue, of the Hugging Face cache, opened by its path, or of a run with a checkpoint. */
export const modelEntry = z.object({
  ref: z
    .string()
    .describe(
      "what `model` takes elsewhere: a catalogue name, hf:org/name[@revision], run:ID, or the path of one that was opened",
    ),
  title: z.string(),
  kind: z.enum(["package", "constructed", "hub", "run", "opened"]),
  ready: z.boolean().describe("true where it can be opened now"),
  licence: z.string().optional(),
  terms: licenceTerms.optional().describe("to accept (`acceptLicence` of a pull) before it is fetched"),
  bytes: z.int().optional(),
});
export type ModelEntry = Data<typeof modelEntry>;

const folderPath = z.string().min(1).max(1_024);
/** Schema of the query for a folder's contents. */
export const folderQuery = z.strictObject({
  path: folderPath.optional().describe("absolute, or from the data folder"),
});
/** Schema of a folder to be named from now on. */
export const rootRequest = z.strictObject({ path: folderPath.describe("absolute") });

const folderPlace = z.object({ name: z.string(), path: z.string() });

/** Schema of what of a folder may be opened. */
export const folderListing = z.object({
  path: z.string().optional().describe("absolute; absent for the list of the folders that may be named"),
  parent: z.string().optional(),
  folders: z.array(folderPlace),
  models: z.array(folderPlace).describe("checkpoint folders and files"),
  more: z.boolean().describe("true where the folder has more entries than were looked at"),
});
export type FolderListing = Data<typeof folderListing>;

const tokenText = { id: z.int(), text: z.string() };

/** Schema of what a model is: its shape, weights and tokenizer. */
export const modelInfoSchema = headModelSchema.safeExtend({
  family: z.string(),
  digest: z.string(),
  config: modelConfigSchema,
  stops: z
    .array(z.object({ id: z.int().optional(), text: z.string(), sources: z.array(z.string()) }))
    .describe(
      "tokens and texts (without `id`) at which the model's own files end a generation, and which files say so",
    ),
  tokenizer: z
    .object({ bos: z.object(tokenText).optional(), addsBos: z.boolean(), chat: z.boolean() })
    .optional()
    .describe("absent for models that take token ids only"),
  tokenizerFault: z
    .string()
    .optional()
    .describe("what is wrong with the tokenizer that its files hold, where it cannot be used"),
});
export type ModelInfo = Data<typeof modelInfoSchema>;

/** Schema of what the removal of a fetched model answers. */
export const removedModel = z.object({ freed: z.number().describe("bytes") });
