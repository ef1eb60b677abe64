import { checkWidth, type SteeredPositions, steer } from "../../circuits/vectors/steer.ts";
import { errorAt, HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { LENGTHS } from "../../hooks/activation-cache.ts";
import type { Model } from "../../models/model.ts";
import type { Context } from "../context.ts";
import { writeTensors } from "../inputs/tensor-file.ts";
import { tokensOf } from "../inputs/tokens.ts";
import { readVector } from "../inputs/vector-file.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions, TokenOptions } from "../options.ts";
import { steeredText } from "../text/steer.ts";

/** Options of `headscope steer`. */
export interface SteerCommandOptions extends StudiedModelOptions, TokenOptions {
  vector: string;
  layer: number;
  positions: SteeredPositions;
  scale: number;
  top: number;
  out?: string;
}

/** Runs prompts with a direction added to the stream. */
export async function steerPrompt(context: Context, options: SteerCommandOptions): Promise<void> {
  const { layer, positions, scale, top, out } = options;
  const { vector, model: made } = await readVector(options.vector);
  if (out !== undefined) await refuseFolder(out);
  await withStudiedModel(context, options, async (model) => {
    const tokens = await tokensOf(model, options);
    if (made) checkModel({ model: made }, headModel(model), `vector ${options.vector}`);
    naming(options.vector, model, vector);
    const { signal } = context;
    const common = { tokens, vector, layer, positions, scale, top, signal };
    const { logits, ...result } = await steer(model, { ...common, logits: out !== undefined });
    try {
      if (out !== undefined)
        await writeTensors(out, [{ name: "logits", tensor: logits! }], {
          "headscope.model": model.ref,
          "headscope.digest": model.digest,
          [LENGTHS]: tokens.map((row) => row.length).join(","),
        });
    } finally {
      logits?.dispose();
    }
    await context.print(result, () => steeredText(result, { model, out }));
  });
}

/** Insists on the stream's width, with the file's name before what is wrong. */
function naming(path: string, model: Model, vector: readonly number[]): void {
  try {
    checkWidth(model, vector);
  } catch (error) {
    throw error instanceof HeadscopeError ? errorAt(path, error) : error;
  }
}
