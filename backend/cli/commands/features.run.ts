import type { SparseDictionary } from "../../circuits/features/dictionary.ts";
import { readFeatures } from "../../circuits/features/read-features.ts";
import { loadDictionary } from "../../circuits/features/sae-lens.ts";
import { scaleFeatures } from "../../circuits/features/scale-features.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { Context } from "../context.ts";
import { tokensOf } from "../inputs/tokens.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions, TokenOptions } from "../options.ts";
import { featuresText } from "../text/features.ts";

interface FeaturesCommandOptions extends StudiedModelOptions, TokenOptions {
  dictionary: string;
  at?: string;
  top: number;
  ablate?: number[];
  scale?: number;
}

/** Reads prompts through a sparse dictionary, and takes features out. */
export async function readPromptFeatures(context: Context, options: FeaturesCommandOptions): Promise<void> {
  const { at, top, ablate, scale } = options;
  if (scale !== undefined && ablate === undefined)
    throw new HeadscopeError("usage", "--scale is for --ablate", { remedy: "name the features with --ablate" });
  const { signal, progress } = context;
  await withStudiedModel(context, options, async (model) => {
    const tokens = await tokensOf(model, options, ablate ? { least: 2 } : {});
    const dictionary = await loadDictionary(options.dictionary);
    try {
      const common = { dictionary, tokens, at, signal, progress };
      const ablated = ablate && (await scaleFeatures(model, { ...common, features: ablate, scale: scale ?? 0 }));
      const reading = await readFeatures(model, { ...common, top });
      const { model: of, ...change } = ablated ?? {};
      const document = {
        model: of ?? { ref: model.ref, digest: model.digest },
        dictionary: describe(dictionary),
        ...reading,
        ...(ablated ? { ablated: { features: ablate, scale: scale ?? 0, ...change } } : {}),
      };
      await context.print(document, () =>
        featuresText(reading, { model, facts: dictionary.facts, ...(ablated ? { ablated, features: ablate!, scale: scale ?? 0 } : {}) }),
      ); // biome-ignore format: one line
    } finally {
      dictionary.dispose();
    }
  });
}

function describe({ facts }: SparseDictionary) {
  const { path, architecture, width, size, hook = null, trainedOn = null } = facts;
  return { path, architecture, width, features: size, hook, trainedOn };
}
