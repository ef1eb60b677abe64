import { z } from "zod";
import { CLASSIFIERS, PROBED_POINTS } from "../words.ts";
import type { Data } from "./fields.ts";

/** Name of the format of linear probes, as their field `format` has it. */
export const LINEAR_PROBE_FORMAT = "headscope.linear-probe/1";

/** Most layers, saved steps or classes of a document, and characters of a name in it. */
const MOST = 65_536;
const LONGEST_NAME = 4_096;

const name = z.string().min(1).max(LONGEST_NAME);

/** Schema of a layer's probe. */
const probedLayerSchema = z.strictObject({
  layer: z.int().min(0),
  /** Held-out score: share of right classes, or R² of values. */
  score: z.number().max(1),
  /** 95 % interval over held-out examples: Wilson's of a share, percentile bootstrap of R². */
  interval: z.tuple([z.number(), z.number()]),
  /** The same of fits to shuffled targets, the mean over the draws; absent without controls. */
  control: z.number().max(1).optional(),
  /** Score less that of the control. */
  selectivity: z.number().optional(),
});

const probeFields = {
  metric: z.enum(["accuracy", "r2"]),
  /** Examples that are fitted, and examples that are held out. */
  train: z.int().min(1),
  test: z.int().min(1),
  /** The score of a probe that reads nothing: the share of the most frequent class among the held-out examples; 0 of R². */
  chance: z.number().min(0).max(1),
};

/** Schema of linear probes of one model. */
export const linearProbeSchema = z.strictObject({ ...probeFields, layers: z.array(probedLayerSchema).max(MOST) });

const settingFields = {
  format: z.literal(LINEAR_PROBE_FORMAT),
  at: z.enum(PROBED_POINTS),
  method: z.enum(CLASSIFIERS),
  l2: z.number().positive(),
  seed: z.int().min(0),
};

/** Schema of the document of probes of a model's labelled prompts. */
export const promptProbesSchema = z.strictObject({
  ...settingFields,
  ...linearProbeSchema.shape,
  model: z.strictObject({ ref: name, digest: name }),
  position: z.union([z.int(), z.literal("mean")]),
  classes: z.array(name).max(MOST),
});

/** Schema of the document of probes of a run for a target of its task, by saved step. */
export const runProbesSchema = z.strictObject({
  ...settingFields,
  ...probeFields,
  run: name,
  task: name,
  target: name,
  position: z.union([z.int(), z.enum(["mean", "scored"])]),
  steps: z.array(z.strictObject({ step: z.int().min(0), layers: z.array(probedLayerSchema).max(MOST) })).max(MOST),
});

/** A layer's probe. */
export type ProbedLayer = Data<typeof probedLayerSchema>;
/** Linear probes of the layers of one model. */
export type LinearProbe = Data<typeof linearProbeSchema>;
/** Linear probes of a model's labelled prompts. */
export type PromptProbes = Data<typeof promptProbesSchema>;
/** Linear probes of a run for a target of its task. */
export type RunProbes = Data<typeof runProbesSchema>;
