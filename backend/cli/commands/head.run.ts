import { headWeights } from "../../circuits/weights/head-weights.ts";
import { headModel } from "../../common/heads/model.ts";
import type { CompositionScope } from "../../common/words.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { headWeightsText } from "../text/head.ts";

/** Options of `headscope head`. */
export interface HeadCommandOptions extends ModelOptions {
  heads: string;
  tokenPairs: number;
  distances: number;
  composition: CompositionScope;
}

/** Looks at heads in the weights. */
export async function lookAtHeads(context: Context, options: HeadCommandOptions): Promise<void> {
  const { tokenPairs, distances, composition, process: processing } = options;
  const { signal, progress } = context;
  await withModel(context, options, async (model) => {
    const heads = await parseHeads(options.heads, headModel(model));
    const result = await headWeights(model, { heads, tokenPairs, distances, composition, signal, progress });
    await context.print({ ...result, process: processing?.split(",").map((name) => name.trim()) ?? [] }, () =>
      headWeightsText(result, { model, processing }),
    );
  });
}
