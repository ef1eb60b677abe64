import { z } from "zod";
import { flagSchema, type JsonSchema } from "../definitions/parameters.ts";
import { CHOOSES, CIRCUIT_METHODS, TRAIN_PARTS } from "../words.ts";
import type { Data } from "./fields.ts";

const definition = z.object({
  name: z.string(),
  title: z.string(),
  description: z.string(),
  source: z.string(),
  flags: z.array(flagSchema),
  schema: z
    .custom<JsonSchema>((value) => typeof value === "object" && value !== null)
    .meta({ type: "object", description: "JSON Schema (draft 2020-12) of the parameters" }),
});
export type DefinitionDocument = Data<typeof definition>;

/** Schema of what GET /api/definitions answers: every registry, with what forms need. */
export const definitionsSchema = z.object({
  probes: z.array(
    definition.extend({
      meanings: z
        .record(z.string(), z.object({ meaning: z.string(), range: z.tuple([z.number(), z.number()]).optional() }))
        .describe("of each metric, by name; empty where the probe does not say"),
    }),
  ),
  tasks: z.array(
    definition.extend({
      train: z
        .array(flagSchema.extend({ part: z.enum(TRAIN_PARTS).describe("what it decides") }))
        .describe("the model's and training's parameters, with the task's defaults"),
      probes: z.array(z.string()),
      part: z
        .literal("repeated")
        .optional()
        .describe("tokens of a prompt that its models learn to foretell, where a rule says so; absent for all"),
    }),
  ),
  experiments: z.array(
    definition.extend({
      claims: z.array(
        z.object({
          id: z.string(),
          statement: z.string(),
          source: z.string(),
          check: z.string(),
          seeds: z
            .string()
            .optional()
            .describe("the parameter that lists the seeds which decide about it, default seeds"),
          extent: z
            .string()
            .optional()
            .describe(
              "the parameter that says how much it rests on, such as its steps; absent for the experiment's own",
            ),
        }),
      ),
      presets: z.array(z.string()),
    }),
  ),
  exports: z.array(
    definition.extend({
      from: z.array(z.enum(["scores", "mask"])),
      needsCheckpoint: z.boolean(),
      output: z.enum(["file", "folder"]),
    }),
  ),
  imports: z.array(definition),
  pairTasks: z.array(
    definition.extend({ wordless: z.boolean().describe("true where models without a tokenizer can do it") }),
  ),
  contextTasks: z.array(definition),
  policies: z.array(definition.extend({ chooses: z.enum(CHOOSES).describe("what it chooses") })),
  circuitMethods: z.array(z.object({ name: z.enum(CIRCUIT_METHODS), flags: z.array(flagSchema) })),
});
export type Definitions = Data<typeof definitionsSchema>;
