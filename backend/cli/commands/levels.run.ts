import { z } from "zod";
import { findLevels } from "../../circuits/gradients/cache-levels.ts";
import { parseParameters, readPairs } from "../../common/definitions/definition.ts";
import { counted } from "../../common/text.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { writeLevels } from "../../heads/levels.ts";
import { PAGE } from "../../models/cache/page-rows.ts";
import type { Context } from "../context.ts";
import { type SampleOptions, sampleText, sampleTokens } from "../inputs/sample.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";

/** Options of `headscope levels find`. */
interface LevelsCommandOptions extends ModelOptions, SampleOptions {
  out: string;
  param?: string[];
}

/** Tokens of a sample unless told otherwise. */
const TOKENS = 2048;

const parameters = z.object({
  outliers: z
    .number()
    .min(0)
    .max(0.2)
    .default(0.01)
    .describe("share of each vector that stays as it is, half at either end, as kvquant's"),
  length: z
    .int()
    .min(PAGE)
    .default(512)
    .describe("tokens of a row that the sample is cut into: the logits of one are held at a time"),
});

/** Finds the levels of a model's keys and values, and writes them. */
export async function find(context: Context, options: LevelsCommandOptions): Promise<void> {
  const { outliers, length } = parseParameters("levels find", parameters, readPairs(options.param ?? []));
  await refuseFolder(options.out);
  const text = await sampleText(options);
  const { signal, progress } = context;
  await withModel(context, options, async (model) => {
    const sample = await sampleTokens(model, text, options, TOKENS);
    const levels = await findLevels(model, { tokens: rowsOf(sample, length), outliers, signal, progress });
    await writeLevels(options.out, levels);
    const { rows, tokens } = levels.params;
    const size = `${counted(Number(rows), "row")}, ${counted(Number(tokens), "token")}`;
    await context.print(levels, () => `levels of ${counted(levels.layers.length, "layer")} for ${model.ref}, of ${size}\nWritten to ${options.out}.`); // biome-ignore format: one line
  });
}

/** A sample in rows of a length; a last one shorter than a page is left out, unless it is the only one. */
function rowsOf(sample: readonly number[], length: number): number[][] {
  const rows = Array.from({ length: Math.ceil(sample.length / length) }, (_, i) =>
    sample.slice(i * length, (i + 1) * length),
  );
  return rows.filter((row, i) => i === 0 || row.length >= PAGE);
}
