import { totalmem } from "node:os";
import { z } from "zod";
import { attentionFault, bottleneckFault, headFault, mixerFault } from "../common/api/model-config.ts";
import { type Flag, flagsOf, parseParameters } from "../common/definitions/parameters.ts";
import { HeadscopeError } from "../common/errors.ts";
import { counted } from "../common/text.ts";
import type { MixerName, TrainPart } from "../common/words.ts";
import type { ModelConfig } from "../models/config.ts";
import { recurrenceOf } from "../models/transformer/mixers/index.ts";
import { parameterCount, parameterLayout } from "../models/weights/trainable.ts";
import { checkChanges } from "./changes/check.ts";
import { changeParameters } from "./changes/parameters.ts";
import { optimiserVectors } from "./optimiser.ts";
import { checkFits, readOrigin } from "./origins/origin.ts";
import { type ModelParams, modelParameters, type TrainingParams, trainingParameters } from "./parameters.ts";
import { outputWidth, type SyntheticTask, type TaskShape } from "./task.ts";

/** All that decides a training run but its seed. */
export interface TrainSpec {
  readonly task: string;
  /** The task's own parameters, complete. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly model: ModelParams;
  readonly training: TrainingParams;
  /** Probes that are measured along with the evaluations. */
  readonly probes: readonly string[];
  /** Of a run that was not trained: the checkpoints whose mean it is. */
  readonly soup?: readonly string[];
}

/** The parameters of `headscope train TASK`: the task's, the model's and the training's, with the task's defaults. */
function trainParameters(task: SyntheticTask): z.ZodObject {
  const defaults = { ...task.defaults?.model, ...task.defaults?.training };
  const fields = { ...task.parameters.shape, ...modelParameters.shape, ...trainingParameters.shape };
  const shape = Object.entries(fields).map(([name, field]) => {
    const type = field as z.ZodType;
    const fromTask = Object.hasOwn(defaults, name) && !Object.hasOwn(task.parameters.shape, name);
    return [name, fromTask ? type.default(defaults[name] as never).describe(type.description ?? "") : type];
  });
  return z.object(Object.fromEntries(shape));
}

/** The same as data for help and forms. */
export function trainFlags(task: SyntheticTask): Flag[] {
  return flagsOf(trainParameters(task));
}

/** The part of a run that a parameter of the model or the training decides. */
export function trainPart(name: string): TrainPart {
  if (Object.hasOwn(modelParameters.shape, name)) return "model";
  return Object.hasOwn(changeParameters.shape, name) ? "changes" : "training";
}

/**
 * Checks the parameters of a training run before anything is computed.
 * @param raw values or text by name; with `from`, model parameters that are not given are those of that run
 * @throws HeadscopeError (usage) for weights of another run that do not fit, an unknown name, a value out of range, values that contradict each other, or more memory than the machine has
 */
export function makeSpec(
  task: SyntheticTask,
  raw: Readonly<Record<string, unknown>> = {},
  { seeds = 1, probes = [] }: { seeds?: number; probes?: readonly string[] } = {},
): TrainSpec {
  const origin = typeof raw["from"] === "string" ? readOrigin(raw["from"]) : undefined;
  const given = Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== undefined));
  const all = origin ? { ...origin.model, ...given, from: origin.ref } : given;
  const parsed = parseParameters(`task ${task.name}`, trainParameters(task), all) as Record<string, unknown>;
  const only = (schema: z.ZodObject): Record<string, unknown> =>
    Object.fromEntries(Object.entries(parsed).filter(([name]) => Object.hasOwn(schema.shape, name)));
  const spec = {
    task: task.name,
    params: only(task.parameters),
    model: only(modelParameters) as ModelParams,
    training: only(trainingParameters) as TrainingParams,
    probes,
  };
  task.check(spec.params);
  const shape = task.shape(spec.params);
  if (probes.length > 0 && shape.input.kind === "vectors")
    throw new HeadscopeError(
      "usage",
      `probe ${probes[0]} reads tokens, and the sequences of ${task.name} are vectors`,
      { remedy: "leave the probes out", field: "probes" },
    );
  const config = modelConfigOf(spec.model, shape);
  if (probes.length > 0 && config.soft_prompt !== undefined)
    throw new HeadscopeError(
      "usage",
      `probe ${probes[0]} counts positions from the first token on, and a soft prompt of ${counted(config.soft_prompt, "vector")} stands before it`,
      { remedy: 'leave the probes out (--probes "")', field: ["probes", "soft_prompt"] },
    );
  const recurrent = config.mixer?.findIndex((name) => name !== "attention") ?? -1;
  if (probes.length > 0 && recurrent >= 0)
    throw new HeadscopeError(
      "usage",
      `probe ${probes[0]} looks at attention, and layer ${recurrent} has ${recurrenceOf(config, recurrent)!.title}`,
      { remedy: 'leave the probes out (--probes "")', field: "probes" },
    );
  if (origin) checkFits(config, origin);
  checkChanges({ config, places: parameterLayout(config), training: spec.training });
  checkMemory(config, shape, spec.training, seeds);
  return spec;
}

/**
 * The model's config for a task.
 * @throws HeadscopeError (usage) where widths do not fit each other
 */
export function modelConfigOf(model: ModelParams, shape: TaskShape): ModelConfig {
  const { n_heads, d_model } = model;
  if (model.d_head === undefined && d_model % n_heads !== 0) {
    throw new HeadscopeError("usage", `d_model ${d_model} is not a multiple of n_heads ${n_heads}`, {
      remedy: "change one of them, or give d_head",
      field: ["d_model", "n_heads"],
    });
  }
  const d_head = model.d_head ?? d_model / n_heads;
  const width = model.key_width ?? d_head;
  if (model.positional_embedding_type === "rotary" && width % 2 === 1) {
    const [field, remedy] =
      model.key_width === undefined
        ? ["d_head", "change d_model, n_heads or d_head"]
        : ["key_width", "change key_width"];
    throw new HeadscopeError("usage", `rotary positions need an even ${field}, and it is ${width}`, { remedy, field });
  }
  const mixer = mixersOf(model);
  const heads = headFields(model, d_head);
  const fault = attentionFault(model) ?? mixerFault({ ...model, mixer }) ?? headFault({ ...model, ...heads, mixer });
  if (fault) throw new HeadscopeError("usage", fault.constraint, { remedy: fault.remedy, field: [...fault.fields] });
  const bottleneck = bottleneckOf(model, shape);
  const { attention = "softmax", attention_power } = model;
  const { input, output, positions } = shape;
  const outputs = outputWidth(output);
  const vocabulary = input.kind === "tokens" ? input.vocabulary : outputs;
  return {
    n_layers: model.n_layers, n_heads, n_key_value_heads: n_heads, d_model, d_head,
    d_mlp: model.d_mlp ?? 4 * d_model, n_ctx: positions, d_vocab: vocabulary,
    act_fn: model.act_fn, gated_mlp: false, attn_only: model.attn_only,
    normalization_type: model.normalization_type === "none" ? null : model.normalization_type, eps: 1e-5,
    final_norm: model.normalization_type !== "none",
    positional_embedding_type: model.positional_embedding_type, rotary_base: 10000, rotary_dim: heads.key_width ?? d_head,
    tie_word_embeddings: false, attn_scale: 1 / Math.sqrt(heads.key_width ?? d_head),
    ...heads,
    ...(attention === "softmax" ? {} : { attention }),
    ...(attention_power === undefined ? {} : { attention_power }),
    ...(mixer === undefined ? {} : { mixer }),
    ...(model.state === undefined ? {} : { state: model.state }),
    ...(input.kind === "vectors" ? { d_input: input.width } : {}),
    ...(outputs === vocabulary ? {} : { d_vocab_out: outputs }),
    ...(bottleneck === undefined ? {} : { bottleneck }),
    ...(model.readout_hidden.length > 0 ? { readout_hidden: model.readout_hidden } : {}),
    ...(model.soft_prompt ? { soft_prompt: model.soft_prompt } : {}),
  }; // biome-ignore format: a table
}

/** Numbers and widths of keys and values that are not those of the queries: the config of equal ones is that of any transformer. */
function headFields({ n_heads, key_heads, value_heads, key_width, value_width }: ModelParams, d_head: number) {
  const other = (value: number | undefined, usual: number): value is number => value !== undefined && value !== usual;
  return {
    ...(other(key_heads, n_heads) ? { key_heads } : {}),
    ...(other(value_heads, n_heads) ? { value_heads } : {}),
    ...(other(key_width, d_head) ? { key_width } : {}),
    ...(other(value_width, d_head) ? { value_width } : {}),
  };
}

/** The mixers of all layers; none where each has attention, so that the config is that of any transformer. */
function mixersOf({ mixer, n_layers }: ModelParams): MixerName[] | undefined {
  if (mixer === undefined) return undefined;
  const all = mixer.length === 1 ? new Array<MixerName>(n_layers).fill(mixer[0]!) : mixer;
  return all.length === n_layers && all.every((name) => name === "attention") ? undefined : all;
}

/** The bottleneck that a model's parameters ask for. @throws HeadscopeError (usage) where it does not go with the rest */
function bottleneckOf(
  { codes, code_heads, d_model, soft_prompt }: ModelParams,
  { input }: TaskShape,
): ModelConfig["bottleneck"] {
  if (codes === undefined) {
    if (code_heads === undefined) return undefined;
    throw new HeadscopeError("usage", "code_heads are of a bottleneck, and there are no codes", {
      remedy: "leave code_heads out, or give codes",
      field: ["code_heads", "codes"],
    });
  }
  const bottleneck = { codes, heads: code_heads ?? 1 };
  const fault = bottleneckFault({
    bottleneck,
    d_model,
    soft_prompt,
    d_input: input.kind === "vectors" ? input.width : undefined,
  });
  if (!fault) return bottleneck;
  const names = {
    bottleneck: ["code_heads"],
    d_model: ["d_model"],
    d_input: ["codes"],
    soft_prompt: ["codes", "soft_prompt"],
  } as const;
  const field = fault.fields.includes("d_input") ? names.d_input : fault.fields.flatMap((name) => [...names[name]]);
  throw new HeadscopeError("usage", fault.constraint, { remedy: fault.remedy, field: [...field] });
}

/** Bytes that a step holds at least: the state twice, gradients, and what the backward pass needs of every layer. */
function stepBytes(config: ModelConfig, shape: TaskShape, training: TrainingParams, seeds: number): number {
  const parameters = parameterCount(parameterLayout(config));
  const rows = Math.max(training.batch * seeds, training.evaluation_rows);
  const positions = (config.soft_prompt ?? 0) + shape.positions;
  const tokens = rows * positions;
  const mlp = config.attn_only ? 0 : 2 * config.d_mlp;
  const layer = tokens * (8 * config.d_model + mlp) + 3 * tokens * positions * config.n_heads;
  const scored = shape.scored === "last" ? rows : rows * shape.positions;
  const { codes, heads } = config.bottleneck ?? { codes: 0, heads: 0 };
  const end = 3 * scored * (config.d_vocab_out ?? config.d_vocab) + 2 * scored * codes * heads;
  const state = (3 + 2 * optimiserVectors(training)) * parameters * seeds;
  return 4 * (state + config.n_layers * layer + end);
}

function checkMemory(config: ModelConfig, shape: TaskShape, training: TrainingParams, seeds: number): void {
  const needed = stepBytes(config, shape, training, seeds);
  if (needed <= totalmem()) return;
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  throw new HeadscopeError(
    "usage",
    `a training step of ${training.batch} sequences of ${shape.positions} positions needs about ${gib(needed)}, and this machine has ${gib(totalmem())}`,
    {
      remedy: "make batch, positions, evaluation_rows or the model smaller, or train fewer seeds together",
      field: ["batch", "evaluation_rows"],
    },
  );
}
