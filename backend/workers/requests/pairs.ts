import { type Pair, tokenPairs } from "../../circuits/pairs.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type PairAlignment, pairRequest } from "../../common/api/patching.ts";
import { HeadscopeError } from "../../common/errors.ts";
import type { Model } from "../../models/model.ts";
import { encodeText } from "../../models/tokens.ts";
import { handler } from "../handler.ts";
import { candidateOf, probabilitiesAfter, promptInputIds, tokenTexts } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

/** Aligns the two prompts of a pair, and says why they could not be patched. */
export const request = handler({
  payload: pairRequest(UNBOUNDED),
  async run({ model: ref, pair, bos }, context): Promise<PairAlignment> {
    const model = await session.models.open(ref, context.signal);
    const pacing = pacingOf(context);
    const side = (prompt: Pair["clean"]) => {
      const text = typeof prompt === "string";
      const ids = promptInputIds(model, text ? { model: ref, bos, text: prompt } : { model: ref, tokens: prompt });
      return { ids, tokens: tokenTexts(model, ids) };
    };
    const [clean, corrupt] = [side(pair.clean), side(pair.corrupt)];
    const answer = async (given: Pair["answer"], ids: readonly number[]) => {
      const tokens = (Array.isArray(given) ? given : [given]) as readonly (string | number)[];
      const own = tokens.map((token) => {
        const id = typeof token === "string" ? encodeText(model, token, false)[0] : token;
        if (id !== undefined && id >= 0 && id < model.config.d_vocab) return id;
        throw new HeadscopeError("input", `${JSON.stringify(token)} is no token`, { remedy: "give one token" });
      });
      const probabilities = await session.runs.withStream(
        model,
        ids,
        { layer: model.config.n_layers, ...pacing },
        (stream) => probabilitiesAfter(model, stream, { ids }),
      );
      const best = own.reduce((first, id) => (probabilities[id]! > probabilities[first]! ? id : first));
      return candidateOf(model, best, probabilities[best]!);
    };
    const problem = problemOf(model, pair, bos);
    return {
      clean,
      corrupt,
      differ: clean.ids.flatMap((id, i) => (i < corrupt.ids.length && corrupt.ids[i] !== id ? [i] : [])),
      answer: await answer(pair.answer, clean.ids),
      wrong: await answer(pair.wrong, corrupt.ids),
      problem,
    };
  },
});

/** The reason for which patching would refuse a pair. */
function problemOf(model: Model, pair: Pair, bos: boolean | undefined): string | undefined {
  try {
    tokenPairs(model, pair, bos === undefined ? {} : { prependBos: bos });
    return undefined;
  } catch (error) {
    if (error instanceof HeadscopeError) return error.line;
    throw error;
  }
}
