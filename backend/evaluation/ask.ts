import { answerScore, type DrawnCase, greedyScore, type QuestionIds } from "../../synthetic-tasks/contexts/index.ts";
import type { EvaluatedCase, EvaluatedQuestion } from "../common/api/evaluations.ts";
import type { EvaluationMode } from "../common/words.ts";
import { generate, readPrefix } from "../inference/generate.ts";
import type { Prefix } from "../inference/prefix.ts";
import { ownStops } from "../inference/stop-rule.ts";
import type { Model } from "../models/model.ts";
import { requireTokenizer } from "../models/tokens.ts";
import type { Beginning } from "./begin.ts";
import { foretell } from "./foretell.ts";
import { heldPositions, keptNeedles, type PlacedNeedle } from "./needles.ts";
import type { PlannedTask } from "./plan.ts";

/** A case and the way in which its questions are asked. */
export interface AskedCase {
  readonly drawn: DrawnCase;
  readonly planned: PlannedTask;
  /** By question, the parts of the context that it is about. */
  readonly needles: readonly (readonly PlacedNeedle[])[];
  readonly mode: EvaluationMode;
  readonly signal?: AbortSignal | undefined;
}

/** Tokens before an answer, and the part of them that a prefix holds. */
interface Place {
  readonly tokens: readonly number[];
  readonly prefix: Prefix | undefined;
}

/** An answer to a question. */
interface Answer {
  readonly ids: readonly number[];
  readonly result: EvaluatedQuestion;
  readonly bytes: number;
  readonly bytesFull: number;
  readonly read?: number | undefined;
  readonly prefillRead?: number | undefined;
  /** Until what is before it was read. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly steps: number;
}

/** A case's result but for its number. */
export type AskedResult = Omit<EvaluatedCase, "number">;

/**
 * Asks the questions of a case under a policy.
 * @param beginning the first prompt as the policy leaves it; stays the caller's
 */
export async function askCase(model: Model, beginning: Beginning, asked: AskedCase): Promise<AskedResult> {
  const { drawn, mode } = asked;
  const { context, questions } = drawn.prompt;
  const first = [...context, ...questions[0]!.request];
  const answers = [
    await answer(model, { ...asked, number: 0 }, { tokens: first, prefix: beginning.prefix }, beginning),
  ];
  if (mode === "requests")
    for (let number = 1; number < questions.length; number++) {
      const tokens = [...context, ...questions[number]!.request];
      answers.push(await answer(model, { ...asked, number }, { tokens, prefix: beginning.context }, beginning));
    }
  if (mode === "turns") answers.push(...(await askTurns(model, beginning, asked, answers[0]!)));
  const last = answers.at(-1)!;
  const results = answers.map(({ result }) => result);
  return {
    tokens: first.length,
    score: mean(results.map(({ score }) => score)),
    bytes: last.bytes,
    bytesFull: last.bytesFull,
    ...(last.read === undefined ? {} : { read: last.read }),
    ...(answers[0]!.prefillRead === undefined ? {} : { prefillRead: answers[0]!.prefillRead }),
    prefillMs: beginning.prefix ? beginning.ms : answers[0]!.prefillMs,
    decodeMs: answers.reduce((sum, { decodeMs }) => sum + decodeMs, 0),
    steps: answers.reduce((sum, { steps }) => sum + steps, 0),
    questions: results,
  };
}

/** The questions after the first, each behind the answer before it on one cache. */
async function askTurns(model: Model, beginning: Beginning, asked: AskedCase, first: Answer): Promise<Answer[]> {
  const { questions } = asked.drawn.prompt;
  const answers = [first];
  let prefix = beginning.prefix!;
  try {
    for (let number = 1; number < questions.length; number++) {
      const tokens = [...answers.at(-1)!.ids, ...questions[number]!.turn];
      const { run } = beginning;
      const next = await readPrefix(model, { ...run, prefix, tokens, signal: asked.signal });
      if (prefix !== beginning.prefix) prefix.dispose();
      prefix = next;
      answers.push(await answer(model, { ...asked, number }, { tokens: prefix.tokens, prefix }, beginning));
    }
    return answers.slice(1);
  } finally {
    if (prefix !== beginning.prefix) prefix.dispose();
  }
}

/** Answers one question of a case. */
function answer(
  model: Model,
  asked: AskedCase & { number: number },
  place: Place,
  { run }: Beginning,
): Promise<Answer> {
  const { scored } = asked.drawn.prompt.questions[asked.number]!;
  return asked.planned.task.scoring === "text"
    ? answerText(model, asked, { ...place, scored }, run)
    : answerWords(model, asked, place, run);
}

/** Has the model write, and looks for the answers in its text. */
async function answerWords(
  model: Model,
  asked: AskedCase & { number: number },
  { tokens, prefix }: Place,
  run: Beginning["run"],
): Promise<Answer> {
  const { drawn, planned, number, signal } = asked;
  const { question, answers, chance } = drawn.questions[number]!;
  const generation = await generate(model, {
    ...run,
    ...{ prefix, tokens: prefix ? tokens.slice(prefix.tokens.length) : tokens, signal },
    maxTokens: planned.task.answerTokens(planned.params),
    stop: ownStops(model, drawn.prompt.stop),
  });
  const { ids, text = "", cache, stopped, decodeMsPerToken, prefillMs } = generation;
  const steps = Math.max(0, ids.length + (stopped.by === "token" ? 1 : 0) - 1);
  return {
    ids,
    result: {
      ...{ question, expected: [...answers], text, score: answerScore(text, answers), chance },
      needles: keptNeedles(asked.needles[number]!, prefix ? heldPositions(prefix.cache) : cache.kept),
    },
    bytes: cache.bytes,
    bytesFull: cache.bytesFull,
    ...{ read: cache.read, prefillRead: generation.prefill?.read },
    prefillMs,
    decodeMs: steps > 0 ? decodeMsPerToken * steps : 0,
    steps,
  };
}

/** Runs the text that is scored behind the question. */
async function answerText(
  model: Model,
  asked: AskedCase & { number: number },
  { tokens, prefix, scored }: Place & Pick<QuestionIds, "scored">,
  run: Beginning["run"],
): Promise<Answer> {
  const { question, answers, chance } = asked.drawn.questions[asked.number]!;
  const { likeliest, loss, cache, prefillMs, prefillRead } = await foretell(model, { ...run, tokens, prefix, scored, signal: asked.signal }); // biome-ignore format: one call
  try {
    const text = requireTokenizer(model).decode(likeliest);
    const score = greedyScore(likeliest, scored);
    return {
      ids: scored,
      result: {
        ...{ question, expected: [...answers], text, score, chance, loss },
        needles: keptNeedles(asked.needles[asked.number]!, heldPositions(prefix?.cache ?? cache)),
      },
      bytes: cache.bytes,
      bytesFull: cache.bytesFull,
      ...{ prefillMs, prefillRead, decodeMs: 0, steps: 0 },
    };
  } finally {
    cache.dispose();
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
