import { type HeadModel, headModel } from "../common/heads/model.ts";
import { intervenedModel } from "../hooks/intervened-model.ts";
import { describeModel, loadModel } from "../models/load.ts";
import type { Model } from "../models/model.ts";
import { processingOf } from "../models/weights/processing.ts";
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
    process: switches === undefined ? undefined : processingOf(switches.split(",").map((name) => name.trim())),
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

/** Describes a model as the files about it do; its weights are not read. */
export async function headModelOf(ref: string): Promise<HeadModel> {
  return headModel(await describeModel(ref));
}
