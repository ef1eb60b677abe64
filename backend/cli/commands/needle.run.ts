import { needleTest } from "../../../probes/needle.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { readMask } from "../../heads/files.ts";
import { choosePolicies, refuseTwoMasks } from "../../inference/policies/choice.ts";
import { checkSuits } from "../../inference/policies/suits.ts";
import type { Context } from "../context.ts";
import { type PolicyOptions, policiesOf } from "../inputs/policies.ts";
import { descriptionOf, withStudiedModel } from "../model.ts";
import type { InferenceOptions, StudiedModelOptions } from "../options.ts";
import { needleText } from "../text/needle.ts";

interface NeedleCommandOptions extends StudiedModelOptions, InferenceOptions, PolicyOptions {
  mask?: string;
  lengths: number[];
  depths: number[];
  needles: number;
  maxTokens?: number;
  seed: number;
}

/** Asks about one sentence of long texts, with everything held and read, and with a mask or policies. */
export async function askNeedles(context: Context, options: NeedleCommandOptions): Promise<void> {
  const { lengths, depths, needles, maxTokens, seed, cache, activations } = options;
  const bad = lengths.find((length) => !Number.isInteger(length));
  if (bad !== undefined)
    throw new HeadscopeError("usage", `--lengths cannot be ${bad}`, { remedy: "give whole numbers of tokens" });
  const mask = options.mask === undefined ? undefined : await readMask(options.mask);
  const policies = policiesOf(options);
  const choice = await choosePolicies(policies);
  refuseTwoMasks(mask, choice);
  if (policies.length > 0) checkSuits(await descriptionOf(options), choice);
  await withStudiedModel(context, options, async (model) => {
    if (mask) checkModel(mask, headModel(model), `mask ${options.mask}`);
    const trials = await needleTest(model, {
      lengths,
      depths,
      needles,
      seed,
      maxTokens,
      mask,
      policies,
      cache,
      activations,
      signal: context.signal,
      progress: context.progress,
    });
    await context.print({ model: model.ref, cache, activations, trials }, () => needleText(trials));
  });
}
