import { searchMask } from "../../../probes/mask-search.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { type HeadMask, maskFromScores } from "../../common/heads/mask.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { SELECTION_RULES } from "../../common/words.ts";
import { readScores, writeMask } from "../../heads/files.ts";
import type { Context } from "../context.ts";
import { withStudiedModel } from "../model.ts";
import { maskText } from "../text/mask.ts";

interface MaskOptions {
  scores: string;
  metric?: string;
  top?: number;
  quantile?: number;
  threshold?: number;
  sink?: number;
  recent?: number;
  out?: string;
  smallest?: boolean;
  model?: string;
  lengths?: number[];
  depths?: number[];
  needles?: number;
  interventions?: string;
}

/** Tokens of the questions that --smallest asks by default. */
const LENGTHS = [1_000];

/** Chooses the KV heads that keep everything. */
export async function chooseHeads(context: Context, options: MaskOptions): Promise<void> {
  const {
    scores: scoresFile,
    out,
    smallest = false,
    model,
    lengths,
    depths,
    needles,
    interventions,
    ...rule
  } = options;
  if (!smallest) refuseQuestions({ model, lengths, depths, needles, interventions });
  const scores = await readScores(scoresFile);
  const mask = smallest ? await search(context, scores, options) : maskFromScores(scores, { ...rule, scoresFile });
  if (out !== undefined) await writeMask(out, mask);
  await context.print(mask, () => maskText(mask, out));
}

/** @throws HeadscopeError `usage` for options that mean nothing without --smallest */
function refuseQuestions(options: Readonly<Record<string, unknown>>): void {
  const [name] = Object.entries(options).find(([, value]) => value !== undefined) ?? [];
  if (name === undefined) return;
  throw new HeadscopeError("usage", `--${name} is about needle questions, which only --smallest asks`, {
    remedy: "add --smallest, or leave it out",
  });
}

/** The smallest mask that loses no answer. */
async function search(context: Context, scores: HeadScores, options: MaskOptions): Promise<HeadMask> {
  const rule = SELECTION_RULES.find((name) => options[name] !== undefined);
  if (rule !== undefined)
    throw new HeadscopeError("usage", `--smallest chooses how many KV heads stay, and so does --${rule}`, {
      remedy: "give one of them",
    });
  const { metric, sink, recent, depths, needles, scores: scoresFile, lengths = LENGTHS } = options;
  const model = options.model ?? scores.model.ref;
  const { interventions } = options;
  return withStudiedModel(context, { model, ...(interventions && { interventions }) }, async (model) => {
    checkModel(scores, headModel(model), `scores ${scoresFile}`);
    const { signal, progress } = context;
    const questions = { metric, sink, recent, lengths, depths, needles, scoresFile, signal, progress };
    return (await searchMask(model, scores, questions)).mask;
  });
}
