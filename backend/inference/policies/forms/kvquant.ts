import { z } from "zod";
import { fileParameter } from "../../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../../common/errors.ts";
import { checkModel, headModel } from "../../../common/heads/model.ts";
import { type CacheLevels, readLevels } from "../../../heads/levels.ts";
import { formPolicy } from "../kinds/form.ts";
import { recentParameter } from "../kinds/parameters.ts";

/** Levels that are learned: of the prompt's own keys and values, or before, by what the loss asks for. */
export const kvquant = formPolicy({
  name: "kvquant",
  title: "KVQuant",
  description:
    "Keys before the rotation are rounded by channel, values by token, to levels that k-means finds for each layer; the numbers furthest " +
    "out and the first token stay as they are. The levels are those of a file, which headscope levels find learns of a sample, each number " +
    "weighed by its Fisher information, or else of the prompt itself, where each number weighs the same.",
  source: "Hooper et al. 2024, KVQuant: Towards 10 Million Context Length LLM Inference with KV Cache Quantization",
  parameters: z.object({
    bits: z.literal([2, 3, 4]).default(3).describe("of a number"),
    outliers: z
      .number()
      .min(0)
      .max(0.2)
      .default(0.01)
      .describe("share of each vector that stays as it is, half at either end, rounded up"),
    levels: fileParameter(
      "levels",
      "level file of headscope levels find; default k-means of the prompt's first pages",
    ).optional(),
    ...recentParameter,
  }),
  async prepare({ levels: path, outliers }) {
    if (path === undefined) return undefined;
    const levels = await readLevels(path);
    const own = levels.params.outliers;
    if (own === outliers) return levels;
    throw new HeadscopeError(
      "mismatch",
      `${path} has levels for outliers=${own}, and kvquant has outliers=${outliers}`,
      {
        remedy: `give outliers=${own}, or find levels with --param outliers=${outliers}`,
        field: ["levels", "outliers"],
      },
    );
  },
  suits(model, { levels: path }, levels) {
    if (levels) checkModel(levels as CacheLevels, headModel(model), `levels ${path}`);
  },
  form({ bits, outliers, recent }, prepared) {
    const levels = (prepared as CacheLevels | undefined)?.layers.map(({ keys, values }) => ({
      keys: keys[bits],
      values: values[bits],
    }));
    return { kind: "kvquant", bits, outliers, recent, ...(levels && { levels }) };
  },
});
