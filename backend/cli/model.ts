import { type HeadModel, headModel } from "../common/heads/model.ts";
import type { Processing } from "../common/words.ts";
import { checkpointInput } from "../exports/checkpoints/checkpoint-input.ts";
import { type ExportInput, exportHeads, type Written } from "../exports/index.ts";
import { intervenedModel } from "../hooks/intervened-model.ts";
import { describeModel, loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import type { ModelDescription } from "../models/sources/source.ts";
import { processedDigest, processingOf } from "../models/weights/processing.ts";
import { pause } from "../runtime/turn.ts";
import type { Context } from "./context.ts";
import { readOptionalInterventions } from "./inputs/case-files.ts";
import type { ModelOptions, StudiedModelOptions } from "./options.ts";

/** Loads the model of --model, uses it, and frees it. */
export async function withModel<T>(
  context: Context,
  { model: ref, weights, process: switches }: ModelOptions,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const { signal, progress } = context;
  const model = await loadModel(ref, {
    signal,
    onProgress: (share) => progress(Math.round(100 * share), 100, `loading ${ref}`),
    weights,
    process: switchesOf(switches),
  });
  try {
    progress.end();
    await pause(); // a Ctrl-C that came during native work is heard here
    signal.throwIfAborted();
    return await use(model);
  } finally {
    model.dispose();
  }
}

/** Loads the model of --model, puts it under --interventions where they are given, uses it, and frees both. */
export async function withStudiedModel<T>(
  context: Context,
  options: StudiedModelOptions,
  use: (model: Model) => Promise<T>,
): Promise<T> {
  const interventions = await readOptionalInterventions(options.interventions);
  return withModel(context, options, async (base) => {
    if (interventions === undefined) return use(base);
    const { model, dispose } = intervenedModel(base, interventions);
    try {
      return await use(model);
    } finally {
      dispose();
    }
  });
}

/** Scores or a mask in a format that may hold the model's weights, and where it goes. */
export interface ModelExport {
  readonly format: string;
  readonly input: Omit<ExportInput, "checkpoint">;
  /** File or folder to make. */
  readonly out: string;
  readonly params?: Readonly<Record<string, string>>;
  readonly force?: boolean | undefined;
}

/** Loads a model and writes scores or a mask with its weights. @throws as `exportHeads` */
export function exportWithModel(
  context: Context,
  options: ModelOptions,
  { format, input, out, params = {}, force }: ModelExport,
): Promise<Written> {
  return withModel(context, options, async (model) => {
    context.progress(0, 1, "writing");
    const checkpoint = checkpointInput(model);
    return exportHeads(format, { ...input, checkpoint }, out, params, { force, signal: context.signal });
  });
}

/** Describes the model of --model as it will be, under --process too; its weights are not read. */
export async function descriptionOf({ model, process: switches }: ModelOptions): Promise<ModelDescription> {
  const described = await describeModel(model);
  return { ...described, digest: processedDigest(described.digest, switchesOf(switches)) };
}

function switchesOf(text: string | undefined): Processing[] {
  return text === undefined ? [] : processingOf(text.split(",").map((name) => name.trim()));
}

/** Describes a model as the files about it do; its weights are not read. */
export async function headModelOf(ref: string): Promise<HeadModel> {
  return headModel(await describeModel(ref));
}
