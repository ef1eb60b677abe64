import { z } from "zod";
import { atMostCharacters } from "../definitions/bounded.ts";

/** Bounds of what one request may hold (422 beyond them). */
export interface Bounds {
  /** Bytes of a body that holds a whole document, such as scores (413). */
  readonly documentBytes: number;
  /** Characters of a text, and tokens of a prompt. */
  readonly textCharacters: number;
  readonly promptTokens: number;
  /** Prompts in one request: rows of an ablation or its reference, pairs of a patching. */
  readonly rows: number;
  /** Entries of a list of heads or interventions. */
  readonly entries: number;
  /** Tokens that one generation may make. */
  readonly newTokens: number;
  /** Seeds that one training may have. */
  readonly seeds: number;
}

/** Bounds of what has passed a server's already. */
export const UNBOUNDED: Bounds = {
  documentBytes: Number.POSITIVE_INFINITY,
  textCharacters: Number.POSITIVE_INFINITY,
  promptTokens: Number.POSITIVE_INFINITY,
  rows: Number.POSITIVE_INFINITY,
  entries: Number.POSITIVE_INFINITY,
  newTokens: Number.POSITIVE_INFINITY,
  seeds: Number.POSITIVE_INFINITY,
};

/** A type that is only read: nothing of it can be changed, at any depth. */
export type Frozen<T> = unknown extends T ? T : T extends object ? { readonly [K in keyof T]: Frozen<T[K]> } : T;

/** Values that a schema lets through, as whoever reads them has them. */
export type Data<S extends z.ZodType> = Frozen<z.output<S>>;

/** Values that a schema, or a schema within bounds, takes: defaults may be left out. */
export type Input<S> = Frozen<z.input<SchemaOf<S>>>;
type SchemaOf<S> = S extends (...bounds: never) => infer R ? SchemaOf<R> : S extends z.ZodType ? S : never;

/** A model by name; a path must lie in the data folder or a given root. */
export const modelRef = z
  .string()
  .min(1)
  .max(512)
  .describe("catalogue name, hf:ORG/NAME[@REVISION], run:ID, run:ID@STEP, or a path with a slash in it");

/** The name of a definition, a run, a metric or a prompt. */
export const shortName = z.string().min(1).max(200);

/** A document's or file's path below the data folder. */
export const documentId = z.string().min(1).max(1_024);

/** A whole number in an address, from 1: digits, nothing else that JavaScript would read as a number. */
export const ordinal = z
  .string()
  .regex(/^[1-9]\d{0,14}$/, "must be a whole number")
  .transform(Number);

/** As `ordinal`, from 0. */
export const index = z
  .string()
  .regex(/^\d{1,9}$/, "must be a whole number")
  .transform(Number);

/** Parameters by name, checked by the definition that they are for; jobs keep them. */
export const parameters = atMostCharacters(z.record(z.string().max(64), z.unknown()), 65_536).describe(
  "parameters by name; see /api/definitions",
);

/** A seed of random draws. */
export const seedSchema = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);

/** Likeliest tokens that an answer lists. */
export const topTokens = z.int().min(1).max(100).optional();

/** Heads as users write them. */
export function headList({ entries }: Bounds) {
  return z.array(z.string().regex(/^\d{1,4}\.\d{1,4}$/, "must be LAYER.HEAD")).max(entries);
}

/** Token rows. */
export function tokenRows({ rows, promptTokens }: Bounds) {
  return z
    .array(z.array(z.int().min(0)).min(1).max(promptTokens))
    .min(1)
    .max(rows);
}

/** The fields of the two ways to give a prompt. */
export function promptFields({ textCharacters, promptTokens }: Bounds) {
  return {
    text: {
      text: z.string().max(textCharacters),
      bos: z.boolean().optional().describe("default: as the tokenizer does"),
    },
    tokens: { tokens: z.array(z.int().min(0)).min(1).max(promptTokens) },
  };
}

/** Refuses a text without characters, at its field: nothing could be run on it. */
export function refuseEmpty(text: unknown, path: (string | number)[], context: z.core.$RefinementCtx): void {
  if (text === "") context.addIssue({ code: "custom", message: "is empty, and a prompt needs a token", path });
}
