import { labelledPrompt } from "../../circuits/vectors/cases.ts";
import { linearProbe } from "../../circuits/vectors/linear-probe.ts";
import type { Classifier, ProbedPoint } from "../../common/words.ts";
import type { Context } from "../context.ts";
import { readCases } from "../inputs/case-files.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { linearProbeText } from "../text/linear-probe.ts";

/** Options of `headscope linear-probe`. */
export interface LinearProbeCommandOptions extends StudiedModelOptions {
  examplesFile: string;
  layers?: number[];
  at: ProbedPoint;
  position: number | "mean";
  method: Classifier;
  l2: number;
  test: number;
  controls: number;
  seed: number;
}

/** Reads labels from the stream, layer by layer. */
export async function probeStreams(context: Context, options: LinearProbeCommandOptions): Promise<void> {
  const { examplesFile, layers, at, position, method, l2, test, controls, seed } = options;
  const { signal, progress } = context;
  await withStudiedModel(context, options, async (model) => {
    const examples = await readCases(examplesFile, model, labelledPrompt);
    const chosen = { at, position, method, l2, test, controls, seed, ...(layers && { layers }) };
    const found = await linearProbe(model, { examples, ...chosen, signal, progress });
    const document = { model: { ref: model.ref, digest: model.digest }, at, position, method, l2, seed, ...found };
    await context.print(document, () => linearProbeText(found, { model, at, position, method }));
  });
}
