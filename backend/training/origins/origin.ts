import { HeadscopeError } from "../../common/errors.ts";
import { readRun } from "../../common/run-reference.ts";
import type { ModelConfig } from "../../models/config.ts";
import { describeRunFile } from "../../models/sources/run-checkpoint.ts";
import { runCheckpointFile } from "../../models/sources/run-file.ts";
import { parameterLayout } from "../../models/weights/trainable.ts";
import { modelParameters } from "../parameters.ts";

/** A checkpoint whose weights a run begins with. */
export interface Origin {
  /** run:ID@step. */
  readonly ref: string;
  readonly path: string;
  readonly config: ModelConfig;
  /** The model parameters that it was trained with; none where its spec does not hold them. */
  readonly model: Readonly<Record<string, unknown>>;
}

/**
 * Finds the checkpoint that a training begins with.
 * @param text run:ID for its last checkpoint, or run:ID@step
 * @throws HeadscopeError `usage` for what names no run or no checkpoint of one
 */
export function readOrigin(text: string): Origin {
  const place = readRun(text);
  if (place === undefined)
    throw new HeadscopeError("usage", `from "${text}" names no run`, {
      remedy: "write run:ID or run:ID@step",
      field: "from",
    });
  const { path, ref } = runCheckpointFile(place);
  const { config, spec } = describeRunFile(path);
  const model = modelParameters.partial().safeParse((spec as { model?: unknown } | null)?.model ?? {});
  return { ref, path, config, model: model.success ? model.data : {} };
}

/** Fields of a config that weights do not depend on: a length without learned positions may be another one. */
const FREE: readonly (keyof ModelConfig)[] = ["n_ctx"];

/** The same where training begins: it may add a soft prompt, or leave that of the other run out. */
const TRANSFERABLE: readonly (keyof ModelConfig)[] = [...FREE, "soft_prompt"];

/**
 * Refuses weights that do not fit the model to be trained.
 * @throws HeadscopeError `usage` with the numbers of both
 */
export function checkFits(config: ModelConfig, origin: Origin): void {
  checkWeights(config, origin, TRANSFERABLE);
}

/** Refuses weights that are not one for one those of a model, such as what is to be averaged. @throws as `checkFits` */
export function checkSame(config: ModelConfig, origin: Origin): void {
  checkWeights(config, origin, FREE);
}

function checkWeights(
  config: ModelConfig,
  { ref, config: theirs }: Origin,
  free: readonly (keyof ModelConfig)[],
): void {
  const tensors = new Map(parameterLayout(theirs).map(({ name, shape }) => [name, shape]));
  const ours = parameterLayout(config);
  const fields = [...new Set([...Object.keys(config), ...Object.keys(theirs)])] as (keyof ModelConfig)[];
  const odd = fields.filter((field) => !free.includes(field) && text(config[field]) !== text(theirs[field]));
  const other = ours.find(
    ({ name, shape }) => text(tensors.get(name) ?? (name === "soft_prompt" ? shape : undefined)) !== text(shape),
  );
  if (odd.length === 0 && other === undefined) return;
  const differences = odd.map((field) => `${field} ${text(theirs[field])} there, ${text(config[field])} here`);
  const shapes = other ? [`${other.name} ${text(tensors.get(other.name))} there, ${text(other.shape)} here`] : [];
  throw new HeadscopeError("usage", `the weights of ${ref} do not fit: ${[...differences, ...shapes].join("; ")}`, {
    remedy: "give parameters of the task and the model with which they do",
    field: ["from"],
  });
}

function text(value: unknown): string {
  return value === undefined ? "none" : JSON.stringify(value);
}
