import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { type HeadMask, maskFromHeads } from "../../common/heads/mask.ts";
import { checkModel } from "../../common/heads/model.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import type { WeightType } from "../../common/words.ts";
import { exporters, exportHeads, leftOut } from "../../exports/index.ts";
import { readMask, readScores } from "../../heads/files.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Context } from "../context.ts";
import { exportWithModel, headModelOf } from "../model.ts";

interface ExportCommandOptions {
  scores?: string;
  mask?: string;
  heads?: string;
  model?: string;
  weights?: WeightType;
  out: string;
  force?: boolean;
  param?: string[];
}

/** Writes scores or a mask in another project's format. */
export async function exportDocument(context: Context, options: ExportCommandOptions, format: string): Promise<void> {
  const exporter = exporters.get(format);
  const parameters = readPairs(options.param ?? []);
  exporters.parse(format, parameters);
  if (options.mask !== undefined && options.heads !== undefined)
    throw new HeadscopeError("usage", "--mask and --heads cannot go together", { remedy: "give one of them" });
  const scores = options.scores === undefined ? undefined : await readScores(options.scores);
  let mask = options.mask === undefined ? undefined : await readMask(options.mask);
  if (options.heads !== undefined) mask = await maskOfHeads(options.heads, options.model);
  else if (options.model !== undefined) await checkModelOf(options, { scores, mask });
  const written = await (exporter.needsCheckpoint && options.model !== undefined
    ? exportWithModel(
        context,
        { model: options.model, weights: options.weights },
        {
          ...{ format, input: { scores, mask }, params: parameters },
          ...{ out: options.out, force: options.force },
        },
      )
    : exportHeads(format, { scores, mask }, options.out, parameters, {
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

/** Refuses scores or a mask of another model than --model. */
async function checkModelOf(
  options: ExportCommandOptions,
  { scores, mask }: { scores: HeadScores | undefined; mask: HeadMask | undefined },
): Promise<void> {
  const model = await headModelOf(options.model!);
  if (scores) checkModel(scores, model, `scores file ${options.scores}`);
  if (mask) checkModel(mask, model, `mask ${options.mask}`);
}
