import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import { WEIGHT_TYPES, type WeightType } from "../../common/words.ts";
import type { HeadMask } from "../../heads/mask.ts";
import type { HeadScores } from "../../heads/scores.ts";
import { runs } from "../context.ts";
import { oneOf, paramOption } from "../options.ts";

interface ExportOptions {
  scores?: string;
  mask?: string;
  heads?: string;
  model?: string;
  weights?: WeightType;
  out: string;
  force?: boolean;
  param?: string[];
}

/** `headscope export FORMAT`: head scores or a mask in another project's format. */
export function register(program: Command): void {
  const command = program
    .command("export <format>")
    .description(
      "write scores or a mask as duo-attention, retrieval-head, safetensors, csv, hf-prune or pruned-checkpoint",
    )
    .option("--scores <file>", "head scores to export")
    .option("--mask <file>", "head mask to export")
    .option("--heads <heads>", "query heads to ablate instead of a mask (18.6,17.3 or top:8@scores.json#metric)")
    .option("--model <ref>", "the model: needed with --heads and by pruned-checkpoint")
    .option("--weights <type>", "f32, bf16 or q8", oneOf("--weights", WEIGHT_TYPES))
    .requiredOption("--out <path>", "file or folder to write")
    .option("--force", "replace a folder that an earlier export wrote");
  paramOption(command, "a parameter of the format; may be repeated");
  runs<ExportOptions>(command, async (context, options, format) => {
    const [{ exporters, exportHeads, leftOut }, { readPairs }, { readScores }, { readMask }] = await Promise.all([
      import("../../exports/index.ts"),
      import("../../common/definitions/definition.ts"),
      import("../../heads/scores.ts"),
      import("../../heads/mask.ts"),
    ]);
    const exporter = exporters.get(format!);
    const parameters = readPairs(options.param ?? []);
    exporters.parse(format!, parameters);
    if (options.mask !== undefined && options.heads !== undefined)
      throw new HeadscopeError("usage", "--mask and --heads cannot go together", { remedy: "give one of them" });
    const scores = options.scores === undefined ? undefined : await readScores(options.scores);
    let mask = options.mask === undefined ? undefined : await readMask(options.mask);
    if (options.heads !== undefined) mask = await maskOfHeads(options.heads, options.model);
    else if (options.model !== undefined) await checkModelOf(options, { scores, mask });
    const written = await (exporter.needsCheckpoint && options.model !== undefined
      ? withCheckpoint(options.model)
      : exportHeads(format!, { scores, mask }, options.out, parameters, {
          force: options.force,
          signal: context.signal,
        }));

    async function withCheckpoint(model: string) {
      const [{ withModel }, { checkpointInput }] = await Promise.all([
        import("../model.ts"),
        import("../../exports/checkpoints/checkpoint-input.ts"),
      ]);
      return withModel(context, { model, ...(options.weights ? { weights: options.weights } : {}) }, async (loaded) => {
        context.progress(0, 1, "writing");
        const checkpoint = checkpointInput(loaded);
        const input = { scores, mask, checkpoint };
        return exportHeads(format!, input, options.out, parameters, { force: options.force, signal: context.signal });
      });
    }

    const half = mask && leftOut(format!, mask);
    const place =
      written.files.length === 1 && written.files[0] === written.path
        ? `Written to ${written.path}.`
        : `Written to ${written.path}: ${written.files.join(", ")}.`;
    await context.print({ format, ...written, ...(half === undefined ? {} : { leftOut: half }) }, () =>
      half === undefined ? place : `${place}\nLeft out: ${half}.`,
    );
  });
}

async function maskOfHeads(heads: string, ref: string | undefined) {
  if (ref === undefined)
    throw new HeadscopeError("usage", "--heads needs the model whose heads they are", { remedy: "give --model" });
  const [{ parseHeads }, { maskFromHeads }, { headModelOf }] = await Promise.all([
    import("../../heads/refs.ts"),
    import("../../heads/mask.ts"),
    import("../model.ts"),
  ]);
  const model = await headModelOf(ref);
  return maskFromHeads(model, await parseHeads(heads, model));
}

/** Refuses scores or a mask of another model than --model. */
async function checkModelOf(
  options: ExportOptions,
  { scores, mask }: { scores: HeadScores | undefined; mask: HeadMask | undefined },
): Promise<void> {
  const [{ checkModel }, { headModelOf }] = await Promise.all([import("../../heads/model.ts"), import("../model.ts")]);
  const model = await headModelOf(options.model!);
  if (scores) checkModel(scores, model, `scores file ${options.scores}`);
  if (mask) checkModel(mask, model, `mask ${options.mask}`);
}
