import {
  answerScore,
  type DrawnCase,
  greedyScore,
  type SplitPrompt,
  splitPrompt,
} from "../../synthetic-tasks/contexts/index.ts";
import type { EvaluatedCase, EvaluatedQuestion } from "../common/api/evaluations.ts";
import { mean } from "../common/numerics/averages.ts";
import type { EvaluationMode } from "../common/words.ts";
import { generate, readPrefix } from "../inference/generate.ts";
import type { Generation } from "../inference/generation.ts";
import type { Prefix } from "../inference/prefix.ts";
import { ownStops } from "../inference/stop-rule.ts";
import type { Model } from "../models/model.ts";
import { requireTokenizer } from "../models/tokens.ts";
import type { Beginning } from "./begin.ts";
import { type ForetellOptions, foretell } from "./foretell.ts";
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

/** Prompt and lead before an answer, and the part of the prompt that a prefix holds. */
interface Place extends SplitPrompt {
  readonly prefix: Prefix | undefined;
}

/** A question of a case at its place. */
interface AskedQuestion extends AskedCase {
  readonly number: number;
  readonly place: Place;
}

/** An answer to a question. */
interface Answer {
  /** Tokens behind the prompt, with the lead. */
  readonly ids: readonly number[];
  readonly result: Omit<EvaluatedQuestion, "needles">;
  readonly cache: Generation["cache"];
  /** Until the prompt was held as policies say, from where the prefix ends. */
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
  const { context, questions } = asked.drawn.prompt;
  const first = [...context, ...questions[0]!.request];
  const split = splitPrompt(first, questions[0]!);
  const answers = [
    await answer(model, { ...asked, number: 0, place: { ...split, prefix: beginning.prefix } }, beginning),
  ];
  if (asked.mode === "requests")
    for (let number = 1; number < questions.length; number++) {
      const { request } = questions[number]!;
      const place = { ...splitPrompt([...context, ...request], questions[number]!), prefix: beginning.context! };
      answers.push(await answer(model, { ...asked, number, place }, beginning));
    }
  if (asked.mode === "turns") answers.push(...(await askTurns(model, beginning, asked, answers[0]!)));
  const { bytes, bytesFull, read } = answers.at(-1)!.cache;
  const results = answers.map(({ result, cache }, q): EvaluatedQuestion => {
    const cut = q > 0 && beginning.context ? beginning.context : beginning.prefix;
    const held = beginning.shared && cut ? heldPositions(cut.cache) : cache.kept;
    return { ...result, needles: keptNeedles(asked.needles[q]!, held) };
  });
  const prefill = beginning.prefix?.prefill;
  return {
    tokens: first.length + questions[0]!.lead.length,
    score: mean(results.map(({ score }) => score)),
    bytes,
    bytesFull,
    ...(read === undefined ? {} : { read }),
    ...(prefill ? { prefillRead: prefill.read } : {}),
    prefillMs: beginning.ms + answers[0]!.prefillMs,
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
      const behind = splitPrompt([...answers.at(-1)!.ids, ...questions[number]!.turn], questions[number]!);
      const { run } = beginning;
      const next = await readPrefix(model, { ...run, prefix, tokens: behind.prompt, signal: asked.signal });
      if (prefix !== beginning.prefix) prefix.dispose();
      prefix = next;
      const place = { prompt: prefix.tokens, lead: behind.lead, prefix };
      answers.push(await answer(model, { ...asked, number, place }, beginning));
    }
    return answers.slice(1);
  } finally {
    if (prefix !== beginning.prefix) prefix.dispose();
  }
}

/** Answers one question of a case. */
function answer(model: Model, asked: AskedQuestion, { run }: Beginning): Promise<Answer> {
  return asked.planned.task.scoring === "text" ? answerText(model, asked, run) : answerWords(model, asked, run);
}

/** Has the model write, and looks for the answers in its text; the loss is that of the first answer in its place. */
async function answerWords(model: Model, asked: AskedQuestion, run: Beginning["run"]): Promise<Answer> {
  const { drawn, planned, number, signal } = asked;
  const { prompt, lead, prefix } = asked.place;
  const { question, answers, chance } = drawn.questions[number]!;
  const { loss } = await foretell(model, foretold(asked, run));
  const generation = await generate(model, {
    ...run,
    ...{ prefix, lead, tokens: prompt.slice(prefix?.tokens.length), signal },
    maxTokens: planned.task.answerTokens(planned.params),
    stop: ownStops(model, drawn.prompt.stop),
  });
  const { ids, text = "", cache, stopped, decodeMsPerToken, prefillMs } = generation;
  const steps = Math.max(0, ids.length + (stopped.by === "token" ? 1 : 0) - 1);
  return {
    ids: [...lead, ...ids],
    result: { question, expected: [...answers], text, score: answerScore(text, answers), chance, loss },
    ...{ cache, prefillMs, decodeMs: steps > 0 ? decodeMsPerToken * steps : 0, steps },
  };
}

/** Runs the text that is scored behind the question. */
async function answerText(model: Model, asked: AskedQuestion, run: Beginning["run"]): Promise<Answer> {
  const { question, answers, chance } = asked.drawn.questions[asked.number]!;
  const { lead, scored, ...options } = foretold(asked, run);
  const { likeliest, loss, cache, prefillMs } = await foretell(model, { ...options, lead, scored });
  const text = requireTokenizer(model).decode(likeliest);
  return {
    ids: [...lead, ...scored],
    result: { question, expected: [...answers], text, score: greedyScore(likeliest, scored), chance, loss },
    ...{ cache, prefillMs, decodeMs: 0, steps: 0 },
  };
}

/** Options that score the tokens of a question at its place. */
function foretold({ drawn, number, place, signal }: AskedQuestion, run: Beginning["run"]): ForetellOptions {
  const { prompt: tokens, lead, prefix } = place;
  return { ...run, tokens, lead, prefix, scored: drawn.prompt.questions[number]!.scored, signal };
}
