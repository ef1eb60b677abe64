import { pairTasks, samplePairs } from "../../../synthetic-tasks/pairs/index.ts";
import { answerPairs, maskedAnswers } from "../../circuits/pair-answers.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { readMask } from "../../heads/files.ts";
import { formatJson } from "../../json.ts";
import { writeFileAtomic } from "../../paths.ts";
import type { Context } from "../context.ts";
import { readPairFile } from "../inputs/case-files.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { definitionDocument, definitionText } from "../text/definition.ts";
import { table } from "../text/format.ts";
import { answersText, pairsText } from "../text/pairs.ts";

/** Options of `headscope pairs NAME`. */
export interface PairsCommandOptions extends StudiedModelOptions {
  count: number;
  seed: number;
  param?: string[];
  out?: string;
  prependBos?: boolean;
}

/** Draws pairs of a task, writes them, and prints how the model answers. */
export async function drawPairs(context: Context, options: PairsCommandOptions, name: string): Promise<void> {
  const { count, seed, out, prependBos } = options;
  const task = pairTasks.get(name);
  const params = pairTasks.parse(name, readPairs(options.param ?? []));
  if (out !== undefined) await refuseFolder(out);
  await withStudiedModel(context, options, async (model) => {
    const bos = prependBos === undefined ? {} : { prependBos };
    const sample = samplePairs(model, task, params, { count, seed, ...bos });
    const answers = await answerPairs(model, sample.tokens, { signal: context.signal, progress: context.progress });
    if (out !== undefined) await writeFileAtomic(out, `${formatJson(sample.pairs)}\n`);
    const { perPair, ...means } = answers;
    const document = {
      task: name,
      params,
      seed,
      model: model.ref,
      ...means,
      unaligned: sample.unaligned,
      pairs: sample.pairs,
      perPair: perPair.map((answer, p) => ({ kind: sample.kinds[p]!, ...answer })),
    };
    await context.print(document, () => pairsText(sample, answers, { name, out, tokenizer: model.tokenizer }));
  });
}

/** Options of `headscope pairs answer`. */
export interface AnswerCommandOptions extends StudiedModelOptions {
  pairFile: string;
  mask?: string;
  controls: number;
  seed: number;
  prependBos?: boolean;
}

/** Prints how a model answers the pairs of a file, beside random masks where there is one. */
export async function answerPairFile(context: Context, options: AnswerCommandOptions): Promise<void> {
  const { pairFile, mask: file, controls: draws, seed, prependBos } = options;
  const { signal, progress } = context;
  const mask = file === undefined ? undefined : await readMask(file);
  await withStudiedModel(context, options, async (model) => {
    if (mask) checkModel(mask, headModel(model), `mask ${file}`);
    const pairs = await readPairFile(pairFile, model, prependBos);
    const work = { signal, progress };
    const answers = await answerPairs(model, pairs, work);
    const masked = mask && (await maskedAnswers(model, pairs, { mask, draws, seed, ...work }));
    const document = { model: model.ref, ...answers, ...(masked && { masked: { file, ...masked } }) };
    await context.print(document, () => answersText(answers, masked && { ...masked, file: file! }));
  });
}

/** Prints the tasks of minimal pairs. */
export async function listPairTasks(context: Context): Promise<void> {
  await context.print(
    pairTasks.list().map(({ name }) => definitionDocument(pairTasks, name)),
    () =>
      table(
        [{ head: "task" }, { head: "what it asks" }, { head: "source" }],
        pairTasks.list().map(({ name, title, source }) => [name, title, source.split(",")[0]!]),
      ),
  );
}

/** Prints a task of minimal pairs with its parameters. */
export async function showPairTask(context: Context, _: object, name: string): Promise<void> {
  const document = definitionDocument(pairTasks, name);
  await context.print(document, () => definitionText(document));
}
