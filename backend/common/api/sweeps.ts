import { z } from "zod";
import { atMostCharacters, atMostKeys } from "../definitions/bounded.ts";
import { SHOWN_STATUSES } from "../words.ts";
import type { Data } from "./fields.ts";

/** Axes of a diagram, and values of one, at most. */
const MOST_AXES = 2;
const MOST_VALUES = 64;

/** Schema of the values of the one or two parameters that a sweep varies, by name. */
export const sweepGrid = atMostCharacters(
  atMostKeys(z.record(z.string().min(1).max(64), z.array(z.unknown()).min(1).max(MOST_VALUES)), MOST_AXES),
  16_384,
).describe("values to try of one or two parameters; every combination is a point");

const axis = z.object({ name: z.string(), values: z.array(z.unknown()) });

/** Schema of a sweep that is kept, as lists have it. */
export const sweepEntry = z.object({
  id: z.string(),
  task: z.string(),
  axes: z.array(axis).describe("one or two parameters, with their values"),
  seeds: z.array(z.int()),
  created: z.string().describe("ISO time"),
});
export type SweepEntry = Data<typeof sweepEntry>;

const sweepRun = z.object({
  run: z.string(),
  seed: z.int(),
  status: z.enum(SHOWN_STATUSES),
  step: z.int(),
  error: z.string().optional(),
  metrics: z.record(z.string(), z.number()).describe("the last value of the loss and of every evaluation"),
});

const range = z.object({ mean: z.number(), min: z.number(), max: z.number() });

/** Schema of a sweep with what its runs have measured so far. */
export const sweepDocument = sweepEntry.extend({
  params: z
    .record(z.string(), z.unknown())
    .describe("parameters that are the same at every point, beside the defaults"),
  probes: z.array(z.string()),
  metric: z.string().describe("the one that is shown where nobody names another"),
  metrics: z.array(z.string()).describe("names of all that was measured"),
  points: z.array(
    z.object({
      values: z.record(z.string(), z.unknown()),
      runs: z.array(sweepRun).describe("those that there are, in the order of the seeds"),
      metrics: z.record(z.string(), range).describe("over the runs that are done"),
    }),
  ),
  command: z.string().describe("the command line that goes on with it"),
});
export type SweepDocument = Data<typeof sweepDocument>;
