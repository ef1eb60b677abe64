import { z } from "zod";
import { type Pair, pairSchema, tokenPairs } from "../../circuits/pairs.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { encodeText } from "../../models/encode.ts";
import type { Model } from "../../models/model.ts";
import type { PairAlignment } from "../../server/api.ts";
import { handler } from "../handler.ts";
import { candidate, probabilitiesAfter, promptIds, tokenTexts } from "../prompts.ts";
import { session, wayOf } from "../session.ts";

/** Aligns the two prompts of a pair, and says why they could not be patched. */
export const request = handler({
  payload: z.object({ model: z.string(), pair: pairSchema, bos: z.boolean().optional() }),
  async run({ model: ref, pair, bos }, context): Promise<PairAlignment> {
    const model = await session.models.open(ref, context.signal);
    const way = wayOf(context);
    const side = (given: Pair["clean"]) => {
      const common = { model: ref, ...(bos === undefined ? {} : { bos }) };
      const ids = promptIds(
        model,
        typeof given === "string" ? { ...common, text: given } : { model: ref, tokens: given },
      );
      return { ids, tokens: tokenTexts(model, ids) };
    };
    const [clean, corrupt] = [side(pair.clean), side(pair.corrupt)];
    const answer = async (given: Pair["answer"], ids: readonly number[]) => {
      const id = typeof given === "string" ? encodeText(model, given, false)[0] : given;
      if (id === undefined || !(id >= 0 && id < model.config.d_vocab))
        throw new HeadscopeError("input", `${JSON.stringify(given)} is no token`, { remedy: "give one token" });
      const probabilities = await session.runs.withStream(model, ids, model.config.n_layers, way, (stream) =>
        probabilitiesAfter(model, stream, { ids }),
      );
      return candidate(model, id, probabilities[id]!);
    };
    const problem = problemOf(model, pair, bos);
    return {
      clean,
      corrupt,
      differ: clean.ids.flatMap((id, i) => (i < corrupt.ids.length && corrupt.ids[i] !== id ? [i] : [])),
      answer: await answer(pair.answer, clean.ids),
      wrong: await answer(pair.wrong, corrupt.ids),
      ...(problem === undefined ? {} : { problem }),
    };
  },
});

/** What patching would refuse. */
function problemOf(model: Model, pair: Pair, bos: boolean | undefined): string | undefined {
  try {
    tokenPairs(model, pair, bos === undefined ? {} : { prependBos: bos });
    return undefined;
  } catch (error) {
    if (error instanceof HeadscopeError) return error.line;
    throw error;
  }
}
