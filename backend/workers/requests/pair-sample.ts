import { pairTasks, samplePairs } from "../../../synthetic-tasks/pairs/index.ts";
import { answerPairs } from "../../circuits/pair-answers.ts";
import { type PairSampleAnswer, pairSampleRequest } from "../../common/api/pair-samples.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Draws pairs of a task, and has the model answer them. */
export const request = handler({
  payload: pairSampleRequest,
  async run({ model: ref, task: name, params: raw, count, seed, bos }, context): Promise<PairSampleAnswer> {
    const task = pairTasks.get(name);
    const params = pairTasks.parse(name, raw);
    const model = await session.models.open(ref, context.signal);
    const options = { count, seed, ...(bos === undefined ? {} : { prependBos: bos }) };
    const { pairs, tokens, kinds, unaligned } = samplePairs(model, task, params, options);
    const { signal, progress } = pacingOf(context);
    const { perPair, ...answers } = await answerPairs(model, tokens, { signal, progress });
    const document = { task: name, params, seed, model: model.ref, ...answers, unaligned, pairs: [...pairs] };
    return { ...document, perPair: perPair.map((answer, p) => ({ kind: kinds[p]!, ...answer })) };
  },
});
