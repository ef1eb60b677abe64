import { z } from "zod";
import { textScores } from "../../../probes/text-scores.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type TextScoresAnswer, textScoresRequest } from "../../common/api/text-scores.ts";
import { handler } from "../handler.ts";
import { tokenIds } from "../prompts.ts";
import { pacingOf, session } from "../session.ts";

/** Scores every head on a prompt, by all scores that there are of a text, from its stored residual streams. */
export const request = handler({
  payload: textScoresRequest(UNBOUNDED).omit({ prompt: true }).extend({ model: z.string(), ids: tokenIds }),
  async run({ model: ref, ids, held, pattern, question }, context): Promise<TextScoresAnswer> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const pacing = pacingOf(context);
    const { streams } = await session.runs.of(model, ids, pacing);
    const scores = await textScores(model, ids, { held, pattern, question, streams, ...pacing });
    return { scores, ms: performance.now() - began };
  },
});
