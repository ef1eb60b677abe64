import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { maskFromHeads } from "../../common/heads/mask.ts";
import { checkModel } from "../../common/heads/model.ts";
import type { WeightType } from "../../common/words.ts";
import { type ExportInput, exporters, exportHeads, leftOut } from "../../exports/index.ts";
import { readMask, readScores } from "../../heads/files.ts";
import { readPatterns } from "../../heads/patterns.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Context } from "../context.ts";
import { exportWithModel, headModelOf } from "../model.ts";

interface ExportCommandOptions {
  scores?: string;
  mask?: string;
  patterns?: string;
  heads?: string;
  model?: string;
  weights?: WeightType;
  out: string;
  force?: boolean;
  param?: string[];
}

/** Writes scores, a mask or sparse patterns in another project's format. */
export async function exportDocument(context: Context, options: ExportCommandOptions, format: string): Promise<void> {
  const exporter = exporters.get(format);
  const parameters = readPairs(options.param ?? []);
  exporters.parse(format, parameters);
  if (options.mask !== undefined && options.heads !== undefined)
    throw new HeadscopeError("usage", "--mask and --heads cannot go together", { remedy: "give one of them" });
  const scores = options.scores === undefined ? undefined : await readScores(options.scores);
  let mask = options.mask === undefined ? undefined : await readMask(options.mask);
  const patterns = options.patterns === undefined ? undefined : await readPatterns(options.patterns);
  if (options.heads !== undefined) mask = await maskOfHeads(options.heads, options.model);
  else if (options.model !== undefined) await checkModelOf(options, { scores, mask, patterns });
  const written = await (exporter.needsCheckpoint && options.model !== undefined
    ? exportWithModel(
        context,
        { model: options.model, weights: options.weights },
        {
          ...{ format, input: { scores, mask, patterns }, params: parameters },
          ...{ out: options.out, force: options.force },
        },
      )
    : exportHeads(format, { scores, mask, patterns }, options.out, parameters, {
        force: options.force,
        signal: context.signal,
      }));

  const half = mask && leftOut(format, mask);
  const place =
    written.files.length === 1 && written.files[0] === written.path
      ? `Written to ${written.path}.`
      : `Written to ${written.path}: ${written.files.join(", ")}.`;
  await context.print({ format, ...written, leftOut: half }, () =>
    half === undefined ? place : `${place}\nLeft out: ${half}.`,
  );
}

async function maskOfHeads(heads: string, ref: string | undefined) {
  if (ref === undefined)
    throw new HeadscopeError("usage", "--heads needs the model whose heads they are", { remedy: "give --model" });
  const model = await headModelOf(ref);
  return maskFromHeads(model, await parseHeads(heads, model));
}

/** Refuses documents of another model than --model. */
async function checkModelOf(options: ExportCommandOptions, { scores, mask, patterns }: ExportInput): Promise<void> {
  const model = await headModelOf(options.model!);
  if (scores) checkModel(scores, model, `scores file ${options.scores}`);
  if (mask) checkModel(mask, model, `mask ${options.mask}`);
  if (patterns) checkModel(patterns, model, `pattern file ${options.patterns}`);
}
