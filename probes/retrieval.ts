import { z } from "zod";
import { HeadscopeError } from "../backend/common/errors.ts";
import { allFinite, notFinite } from "../backend/hooks/finite.ts";
import { KvCache } from "../backend/models/cache/kv-cache.ts";
import { forward } from "../backend/models/forward/forward.ts";
import type { Model } from "../backend/models/model.ts";
import type { PatternMap } from "../backend/models/transformer/attention.ts";
import { tf } from "../backend/runtime/tf.ts";
import { pause } from "../backend/runtime/turn.ts";
import { fitLength, meanTable, type Probe, type ProbeContext, type RetrievalCase, refuse, summarise } from "./base.ts";
import { haystackFor } from "./haystack.ts";
import { retrievalCase } from "./retrieval-cases.ts";

const LENGTH = 512;

const parameters = z.object({
  lengths: z.array(z.int().min(16)).min(1).default([LENGTH]).describe("tokens of the generated prompts"),
  depths: z
    .array(z.number().min(0).max(1))
    .min(1)
    .default([0.1, 0.5, 0.9])
    .describe("where the needle stands: 0 start, 1 end of the text"),
  needles: z.int().min(1).default(2).describe("different needles at every length and depth"),
  maxNewTokens: z.int().min(1).default(10).describe("most tokens of an answer"),
  minRecall: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      "an answer counts that holds a larger share of the expected answer's words than this, or all of them; 0: every answer counts (Retrieval_Head's code: 0.5)",
    ),
});
type Params = z.output<typeof parameters>;

/** A case with what its right answer holds, where that is known. */
interface Trial extends RetrievalCase {
  length?: number;
  depth?: number;
}

/** Position of the key that each query attends to most. */
const topKey: PatternMap = {
  kind: "map",
  name: "top key",
  map: (pattern) => tf.cast(tf.argMax(pattern, -1), "float32"),
};

/** Heads that fetch the answer out of a long context, token by token. */
export const retrieval: Probe<typeof parameters> = {
  name: "retrieval",
  title: "Retrieval heads",
  description:
    "A needle in a haystack, answered by greedy decoding. At every step that produces a token, a head whose most attended key lies in the needle " +
    "and holds that very token gains 1 / needle length. The mean over trials (lengths x depths x needles, or the cases given).",
  source:
    "Wu et al. 2024, Retrieval Head Mechanistically Explains Long-Context Factuality; nightdessert/Retrieval_Head",
  parameters,
  meanings: {
    retrieval: {
      meaning:
        "Share of a needle's tokens that the head fetches: it looks most at a token of the needle while the model writes that very token.",
      range: [0, 1],
      // The most attended of `length` keys is the right one once in so many; given cases leave no lengths.
      chance: ({ lengths }: Partial<Params>) =>
        lengths && lengths.reduce((sum, length) => sum + 1 / length, 0) / lengths.length,
    },
  },
  readCase: retrievalCase,
  async run(model, params, context) {
    refuse(context, "retrieval", "tokens");
    const trials: readonly Trial[] =
      (context.cases as RetrievalCase[] | undefined) ?? generated(model, params, context);
    const cases = [];
    for (const [i, trial] of trials.entries()) {
      context.progress?.(i, trials.length, "haystacks");
      const { generated, scores } = await answerCase(model, trial, params.maxNewTokens, context.signal);
      const text = model.tokenizer?.decode(generated);
      const recall = recallOf(model, trial, generated);
      const answered = trial.answer === undefined ? undefined : (text ?? generated.join(" ")).includes(trial.answer);
      const { needleSpan, length = trial.ids.length, depth } = trial;
      cases.push({ length, depth, needleSpan, generated, text, found: answered, recall, scores });
    }
    context.progress?.(trials.length, trials.length, "haystacks");
    const counted = cases.filter(({ recall }) => counts(recall, params.minRecall));
    if (counted.length === 0)
      throw new HeadscopeError("input", `no answer holds more than ${params.minRecall} of the words it should`, {
        remedy: `lower minRecall (the best of ${cases.length} answers has ${Math.max(...cases.map(({ recall }) => recall)).toFixed(2)}), or ask easier questions: shorter lengths, more maxNewTokens`,
      });
    const values = meanTable(counted.map(({ scores }) => scores));
    const judged = cases.filter(({ found }) => found !== undefined);
    // Given cases leave nothing of the generator's parameters to record.
    const { lengths: _, depths, needles, ...decoding } = params;
    const generator = { lengths: [...new Set(trials.map(({ length }) => length!))], depths, needles };
    return {
      params: { ...decoding, ...(context.cases ? {} : generator) },
      tokens: trials.map(({ ids }) => ids),
      metrics: { retrieval: { axis: "heads", values, trials: counted.map(({ scores }) => scores) } },
      summary: {
        ...summarise(values),
        trials: cases.length,
        counted: counted.length,
        ...(judged.length > 0 ? { answered: judged.filter(({ found }) => found).length } : {}),
      },
      perCase: cases,
    };
  },
};

function generated(model: Model, params: Params, { seed = 0 }: ProbeContext): Trial[] {
  const most = model.config.n_ctx - params.maxNewTokens;
  const lengths = [...new Set(params.lengths.map((length) => fitLength("a length of", length, LENGTH, most)))];
  return lengths.flatMap((length) =>
    params.depths.flatMap((depth) =>
      Array.from({ length: params.needles }, (_, n) => ({
        ...haystackFor(model, { tokens: length, depth, seed: seed * 1000 + n }),
        length,
        depth,
      })),
    ),
  );
}

/** Greedy decoding of one case. @returns the tokens produced (a stop token is the last) and what each head copied [layers][heads] */
async function answerCase(
  model: Model,
  trial: Trial,
  byDefault: number,
  signal?: AbortSignal,
): Promise<{ generated: number[]; scores: number[][] }> {
  const { ids, needleSpan: [start, end], maxNewTokens = byDefault, stopToken } = trial; // biome-ignore format: one line
  const { config } = model;
  const stops = new Set<number>(stopToken === undefined ? model.stops.tokens.map(({ id: own }) => own) : [stopToken]);
  if (!(start >= 0 && start < end && end <= ids.length)) {
    throw new HeadscopeError("input", `needle span [${start}, ${end}) is not in a prompt of ${ids.length} tokens`, {
      remedy: "give [start, end) with 0 <= start < end <= the number of ids",
    });
  }
  if (ids.length + maxNewTokens > config.n_ctx) {
    throw new HeadscopeError(
      "input",
      `${ids.length} prompt tokens and ${maxNewTokens} new ones exceed the context of ${config.n_ctx}`,
      { remedy: "shorten the haystack" },
    );
  }
  const scores = emptyTable(config.n_layers, config.n_heads);
  const produced: number[] = [];
  const cache = new KvCache(config, { capacity: ids.length + maxNewTokens });
  const onLayer = () => signal?.throwIfAborted();
  try {
    // The last prompt token goes by itself: only what produces a token is looked at.
    if (ids.length > 1) forward(model, { tokens: [ids.slice(0, -1)], cache, logitsAt: "none" }, { onLayer }).dispose();
    let token = ids.at(-1)!;
    while (produced.length < maxNewTokens) {
      const step = forward(model, { tokens: [[token]], cache, logitsAt: "last" }, { reductions: [topKey], onLayer });
      if (!allFinite(step.logits!.dataSync())) {
        step.dispose();
        throw notFinite(model, "the logits", [[...ids, ...produced]]);
      }
      token = tf.tidy(() => tf.argMax(tf.reshape(step.logits!, [-1])).dataSync()[0]!);
      produced.push(token);
      step.reductions.get(topKey.name)!.forEach((keys, layer) => {
        keys.dataSync().forEach((key: number, head: number) => {
          if (key >= start && key < end && ids[key] === token) scores[layer]![head]! += 1 / (end - start);
        });
      });
      step.dispose();
      if (stops.has(token)) break;
      await pause();
      signal?.throwIfAborted();
    }
    return { generated: produced, scores };
  } finally {
    cache.dispose();
  }
}

/** Says that an answer is one of those that scores are averaged over. */
function counts(recall: number, least: number): boolean {
  return least === 0 || recall === 1 || recall > least;
}

/**
 * ROUGE-1 recall: the share of the expected answer's words that the answer holds, each as often as it occurs. Where no answer is
 * given it is the needle's span, which Retrieval_Head's cases draw around the answer. Without a tokenizer words are ids.
 */
function recallOf({ tokenizer }: Model, { ids, needleSpan, answer }: Trial, produced: readonly number[]): number {
  const words = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const textOf = (part: readonly number[]): string => (tokenizer ? tokenizer.decode([...part]) : part.join(" "));
  const expected = words(answer ?? textOf(ids.slice(...needleSpan)));
  const left = words(textOf(produced));
  const hits = expected.filter((word) => {
    const at = left.indexOf(word);
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
  return expected.length === 0 ? 0 : hits.length / expected.length;
}

function emptyTable(layers: number, heads: number): number[][] {
  return Array.from({ length: layers }, () => new Array<number>(heads).fill(0));
}
