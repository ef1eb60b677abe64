import { type AblateOptions, ablate } from "../../circuits/ablation/ablate.ts";
import { ablateEach } from "../../circuits/ablation/each.ts";
import { answerIds, tokensIn } from "../../circuits/answers.ts";
import { intervene } from "../../circuits/intervene.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import type { MetricName } from "../../common/metrics.ts";
import type { TextPart } from "../../common/texts/parts.ts";
import type { AblatedPart, AblationMethod } from "../../common/words.ts";
import { parseHeads } from "../../heads/refs.ts";
import { randomReference } from "../../hooks/reference.ts";
import type { Model } from "../../models/model.ts";
import type { Context } from "../context.ts";
import { readInterventions, readPairFile } from "../inputs/case-files.ts";
import { tokenOf } from "../inputs/questions.ts";
import { readTokens, tokensOf } from "../inputs/tokens.ts";
import { withModel, withStudiedModel } from "../model.ts";
import type { ModelOptions, TokenOptions } from "../options.ts";
import { ablatedEachText, ablationDocument, ablationText, interventionText } from "../text/ablation.ts";

interface AblateCommandOptions extends ModelOptions, TokenOptions {
  heads?: string;
  each?: AblatedPart;
  pairFile?: string;
  metric?: MetricName;
  over?: TextPart;
  position?: number;
  wrong?: string;
  answer?: string;
  window?: number;
  interventions?: string;
  method: AblationMethod;
  byPosition?: boolean;
  referenceFile?: string;
  controls: number;
  seed: number;
}

/** Ablates heads beside as many others of the same layers, or each part in turn, or applies the interventions of a file. */
export async function ablateHeads(context: Context, options: AblateCommandOptions): Promise<void> {
  const { each, pairFile, metric, window, over, position, wrong, answer } = options;
  if (over === undefined && [each, pairFile, metric, window].some((option) => option !== undefined))
    return ablateEachCommand(context, options);
  const held = Object.entries({ position, wrong, answer }).find(([, value]) => value !== undefined)?.[0];
  if (over === undefined && held !== undefined)
    throw new HeadscopeError("usage", `--${held} is for --over`, {
      remedy: "say what the verdict is over, such as --over token, or leave it out",
    });
  if (over !== undefined && (each ?? pairFile ?? window ?? options.interventions) !== undefined)
    throw new HeadscopeError("usage", "--over is for --heads", {
      remedy: "leave it out, or take out a set of heads on --text or --tokens-file",
    });
  if ((options.heads === undefined) === (options.interventions === undefined))
    throw new HeadscopeError(
      "usage",
      options.heads === undefined ? "nothing is named to take out" : "--heads and --interventions cannot go together",
      { remedy: "give one of --heads and --interventions" },
    );
  if (options.interventions !== undefined) return interveneCommand(context, options, options.interventions);
  if (options.byPosition && options.method !== "mean")
    throw new HeadscopeError("usage", "--by-position is for --method mean", { remedy: "leave it out, or choose mean" });
  await withModel(context, options, async (model) => {
    const heads = await parseHeads(options.heads!, headModel(model));
    const tokens = await tokensOf(model, options, { least: 2 });
    const { referenceFile, method, seed, over, metric } = options;
    const rows = referenceFile === undefined ? undefined : await readTokens(referenceFile, model);
    const random = rows ? undefined : randomReference(model, tokens, method, seed);
    const result = await ablate(model, {
      tokens,
      heads,
      method,
      controls: options.controls,
      seed,
      byPosition: options.byPosition,
      reference: rows ?? random,
      over,
      metric,
      ...heldToken(model, tokens, options),
      signal: context.signal,
      progress: context.progress,
    });
    await context.print(ablationDocument(result, random), () => ablationText(result, random));
  });
}

/** The token that --over is about, against the wrong one where there is one. */
function heldToken(
  model: Model,
  tokens: readonly (readonly number[])[],
  { over, position, wrong, answer }: AblateCommandOptions,
): Pick<AblateOptions, "position" | "contrast"> {
  if (over !== "answer") {
    if ((wrong ?? answer) === undefined) return { position };
    throw new HeadscopeError(
      "usage",
      `--${wrong === undefined ? "answer" : "wrong"} and --over ${over} cannot go together`,
      {
        remedy: "leave it out, or say --over answer",
      },
    );
  }
  if (position === undefined || wrong === undefined)
    throw new HeadscopeError("usage", `--${wrong === undefined ? "wrong" : "position"} is missing`, {
      remedy: "--over answer holds the token at --position against the token --wrong",
    });
  const right = answer === undefined ? tokens[0]?.[position] : tokenOf(answer);
  // What is wrong with the position is said with the lengths of the rows.
  if (right === undefined) return { contrast: { position, wrong: 0 } };
  const ids = answerIds(model, { answer: right, wrong: tokenOf(wrong) }, "");
  const own = answer === undefined ? {} : { answer: tokensIn(ids.answer)[0]! };
  return { contrast: { position, ...own, wrong: tokensIn(ids.wrong)[0]! } };
}

/** Prints the effect of the interventions of a file. */
async function interveneCommand(context: Context, options: AblateCommandOptions, path: string): Promise<void> {
  if (options.byPosition || options.referenceFile !== undefined || options.method !== "zero")
    throw new HeadscopeError("usage", "--method, --by-position and --reference-file are for --heads", {
      remedy: 'say it in the file: {"do": "mean", "byPosition": true, "with": {"tokens": rows}}',
    });
  const interventions = await readInterventions(path);
  await withModel(context, options, async (model) => {
    const tokens = await tokensOf(model, options, { least: 2 });
    const { signal, progress } = context;
    const result = await intervene(model, { tokens, interventions, signal, progress });
    await context.print({ ...result, interventions }, () => interventionText(result, interventions.length));
  });
}

/** Takes one part after the other out of the clean prompts of pairs. */
async function ablateEachCommand(context: Context, options: AblateCommandOptions): Promise<void> {
  const { each, pairFile, metric, window, method, referenceFile } = options;
  if (each === undefined || pairFile === undefined)
    throw new HeadscopeError("usage", `--${each === undefined ? "each" : "pair-file"} is missing`, {
      remedy: "give --each and --pair-file",
    });
  const others = { heads: options.heads, text: options.text };
  const other = Object.entries({ ...others, "tokens-file": options.tokensFile }).find(
    ([, value]) => value !== undefined,
  );
  if (other || options.byPosition)
    throw new HeadscopeError("usage", `--${other?.[0] ?? "by-position"} and --each cannot go together`, {
      remedy: "--each takes its prompts from --pair-file, and every part in turn",
    });
  if ((window !== undefined && each !== "source") || (referenceFile !== undefined && method !== "mean"))
    throw new HeadscopeError("usage", "--window is for --each source, and --reference-file for --method mean", {
      remedy: "leave it out",
    });
  if (each === "source" && method !== "zero")
    throw new HeadscopeError("usage", "attention to a source token is knocked out, by no other method", {
      remedy: "leave --method out",
    });
  await withStudiedModel(context, options, async (model) => {
    const pairs = await readPairFile(pairFile, model, options.prependBos);
    const reference = referenceFile === undefined ? undefined : await readTokens(referenceFile, model);
    const { signal, progress } = context;
    const result = await ablateEach(model, { pairs, each, method, metric, window, reference, signal, progress });
    await context.print(result, () => ablatedEachText(result, { model, pair: pairs[0]! }));
  });
}
