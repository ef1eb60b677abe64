import { intervene } from "../../circuits/intervene.ts";
import { demonstration } from "../../circuits/vectors/cases.ts";
import { inContextVectors, vectorAdditions } from "../../circuits/vectors/in-context-vectors.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { Context } from "../context.ts";
import { readCases } from "../inputs/case-files.ts";
import { tokensOf } from "../inputs/tokens.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions, TokenOptions } from "../options.ts";
import { vectorsText } from "../text/icv.ts";

interface IcvCommandOptions extends StudiedModelOptions, TokenOptions {
  examplesFile: string;
  layers?: number[];
  strength: number;
  out?: string;
}

/** Makes in-context vectors, writes them as interventions, and runs prompts with them. */
export async function makeVectors(context: Context, options: IcvCommandOptions): Promise<void> {
  const { examplesFile, layers, strength, out } = options;
  if (out !== undefined) await refuseFolder(out);
  const { signal, progress } = context;
  await withStudiedModel(context, options, async (model) => {
    const prompted = options.text !== undefined || options.tokensFile !== undefined;
    const tokens = prompted ? await tokensOf(model, options, { least: 2 }) : undefined;
    const examples = await readCases(examplesFile, model, demonstration);
    const vectors = await inContextVectors(model, { examples, layers, signal, progress });
    const interventions = vectorAdditions(vectors, strength);
    const effect = tokens && (await intervene(model, { tokens, interventions, signal, progress }));
    if (out !== undefined) await writeFileAtomic(out, `${JSON.stringify(interventions)}\n`);
    const { model: _, ...change } = effect ?? {};
    const document = {
      model: { ref: model.ref, digest: model.digest },
      examples: examples.length,
      strength,
      layers: vectors,
      ...(effect ? { effect: change } : {}),
    };
    await context.print(document, () => vectorsText(vectors, { model, examples: examples.length, strength, effect, out })); // biome-ignore format: one line
  });
}
