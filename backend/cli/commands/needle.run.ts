import { needleTest } from "../../../probes/needle.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { readMask } from "../../heads/files.ts";
import type { Context } from "../context.ts";
import { withStudiedModel } from "../model.ts";
import type { InferenceOptions, StudiedModelOptions } from "../options.ts";
import { needleText } from "../text/needle.ts";

interface NeedleCommandOptions extends StudiedModelOptions, InferenceOptions {
  mask?: string;
  lengths: number[];
  depths: number[];
  needles: number;
  maxTokens?: number;
  seed: number;
}

/** Asks about one sentence of long texts, with all heads full and with a mask. */
export async function askNeedles(context: Context, options: NeedleCommandOptions): Promise<void> {
  const { lengths, depths, needles, maxTokens, seed, cache, activations } = options;
  const bad = lengths.find((length) => !Number.isInteger(length));
  if (bad !== undefined)
    throw new HeadscopeError("usage", `--lengths cannot be ${bad}`, { remedy: "give whole numbers of tokens" });
  const mask = options.mask === undefined ? undefined : await readMask(options.mask);
  await withStudiedModel(context, options, async (model) => {
    if (mask) checkModel(mask, headModel(model), `mask ${options.mask}`);
    const trials = await needleTest(model, {
      lengths,
      depths,
      needles,
      seed,
      maxTokens,
      mask,
      cache,
      activations,
      signal: context.signal,
      progress: context.progress,
    });
    await context.print({ model: model.ref, cache, activations, trials }, () => needleText(trials));
  });
}
