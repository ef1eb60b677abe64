import { lens } from "../../circuits/attribution/lens.ts";
import { type LensResponse, lensRequest } from "../../common/api/attribution.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { handler } from "../handler.ts";
import { tokenTexts } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

/** The logit lens on prompts, with the texts of its tokens. */
export const request = handler({
  payload: lensRequest(UNBOUNDED),
  async run({ model: ref, prompts, bos, position, topTokens }, context): Promise<LensResponse> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const { rows, notes } = await lens(model, {
      prompts,
      ...(bos === undefined ? {} : { prependBos: bos }),
      ...(position === undefined ? {} : { position }),
      ...(topTokens === undefined ? {} : { top: topTokens }),
      ...pacingOf(context),
    });
    return {
      rows: rows.map(({ at, answer, wrong, rank, top }) => {
        const texts = tokenTexts(
          model,
          top.map(({ id }) => id),
        );
        return { at, answer, wrong, rank, top: top.map(({ id, logit }, i) => ({ id, text: texts[i]!, logit })) };
      }),
      ...(notes ? { notes } : {}),
      ms: performance.now() - began,
    };
  },
});
