import type { Command } from "commander";
import { HeadscopeError } from "../../errors.ts";
import type { Generation } from "../../inference/generate.ts";
import type { Model } from "../../models/model.ts";
import { output } from "../../setup/terminal.mjs";
import { runs } from "../context.ts";
import { bytes, dim, duration, plural } from "../format.ts";
import {
  integer,
  type ModelOptions,
  modelOptions,
  paramOption,
  real,
  seedOption,
  type TokenOptions,
  tokenOptions,
} from "../options.ts";

interface GenerateCommandOptions extends ModelOptions, TokenOptions {
  chat?: boolean;
  maxTokens: number;
  temperature: number;
  seed: number;
  mask?: string;
  ablate?: string;
  param?: string[];
  withLogits?: boolean;
}

/** `headscope generate`: continues a text, with all keys and values kept or as a head mask says. */
export function register(program: Command): void {
  const command = program.command("generate").description("continue a text or token ids, with a head mask or without");
  modelOptions(command);
  tokenOptions(command)
    .option("--chat", "put the text into the model's chat template, as a user's message")
    .option("--max-tokens <n>", "most new tokens", integer("--max-tokens", 1), 32)
    .option("--temperature <t>", "0 takes the likeliest token, more samples", real("--temperature", 0), 0)
    .option("--mask <file>", "head mask: its streaming heads keep first and recent tokens only")
    .option("--ablate <heads>", "heads whose output is 0 at every position: 18.6,17.3 or top:8@scores.json#metric");
  seedOption(command);
  paramOption(command, "prefill=masked (default) or prefill=dense: whether the mask holds during the prompt").option(
    "--with-logits",
    "print the first eight logits of the first new token",
  );
  runs<GenerateCommandOptions>(command, async (context, options) => {
    const [{ withModel }, { readMask }, { generate }, { TextStream }, { checkModel, headModel }, parameters] =
      await Promise.all([
        import("../model.ts"),
        import("../../heads/mask.ts"),
        import("../../inference/generate.ts"),
        import("../../inference/text-stream.ts"),
        import("../../heads/model.ts"),
        readParameters(options.param ?? []),
      ]);
    if (options.param && options.mask === undefined)
      throw new HeadscopeError("usage", "--param prefill says when a mask holds, and there is no mask", {
        remedy: "give --mask, or leave it out",
      });
    const mask = options.mask === undefined ? undefined : await readMask(options.mask);
    await withModel(context, options, async (model) => {
      if (mask !== undefined) checkModel(mask, headModel(model), `mask ${options.mask}`);
      const tokens = await promptOf(model, options);
      let done = 0;
      const interventions = await ablation(model, options.ablate);
      const typing = context.json || !output.isTTY ? undefined : new TextStream(model.tokenizer);
      const result = await generate(model, {
        tokens,
        maxTokens: options.maxTokens,
        temperature: options.temperature,
        seed: options.seed,
        ...(mask === undefined ? {} : { mask, prefill: parameters.prefill }),
        forward: { interventions },
        signal: context.signal,
        onToken: (id) => {
          if (typing) void output.write(typing.push(id));
          else context.progress(++done, options.maxTokens, "new tokens");
        },
      });
      await context.print(documentOf(result, options.withLogits === true), () =>
        [...(typing ? [""] : [result.text ?? result.ids.join(" ")]), "", factsOf(result)].join("\n"),
      );
    });
  });
}

/** Heads taken out, as interventions of every forward; their few numbers live as long as the process. */
async function ablation(model: Model, heads: string | undefined) {
  const [{ compileInterventions }, { zeroHeads }, { headModel }, { parseHeads }] = await Promise.all([
    import("../../hooks/interventions.ts"),
    import("../../hooks/zero-heads.ts"),
    import("../../heads/model.ts"),
    import("../../heads/refs.ts"),
  ]);
  const chosen = heads === undefined ? [] : await parseHeads(heads, headModel(model));
  return compileInterventions(model, zeroHeads(chosen), { rows: 1, positions: 1 });
}

const PREFILL = ["masked", "dense"] as const;

/** The parameters of a generation with a mask. @throws HeadscopeError `usage` */
async function readParameters(pairs: readonly string[]): Promise<{ prefill: (typeof PREFILL)[number] }> {
  const [{ parseParameters, readPairs }, { z }] = await Promise.all([
    import("../../definitions/definition.ts"),
    import("zod"),
  ]);
  const schema = z.object({
    prefill: z.enum(PREFILL).default("masked").describe("whether the mask holds during the prompt, or only after it"),
  });
  return parseParameters("generate", schema, readPairs(pairs));
}

async function promptOf(model: Model, options: GenerateCommandOptions): Promise<number[]> {
  const { encode, tokensOf } = await import("../inputs.ts");
  if (options.chat) {
    const { tokenizer } = model;
    if (options.text === undefined) throw new HeadscopeError("usage", "--chat needs a text", { remedy: "give --text" });
    if (!tokenizer) return encode(model, options.text);
    return encode(
      model,
      tokenizer.chat([{ role: "user", content: options.text }], { addGenerationPrompt: true }),
      false,
    );
  }
  const rows = await tokensOf(model, options);
  if (rows.length !== 1)
    throw new HeadscopeError(
      "input",
      `${options.tokensFile} holds ${rows.length} rows, and one is continued at a time`,
      {
        remedy: "give a file of one row",
      },
    );
  return rows[0]!;
}

/** What `headscope generate --json` prints. */
function documentOf(result: Generation, withLogits: boolean): Record<string, unknown> {
  const { text, ids, cache, promptTokens, prefillMs, decodeMsPerToken, logits } = result;
  return {
    ...(text === undefined ? {} : { text }),
    ids,
    cache,
    promptTokens,
    prefillMs,
    decodeMsPerToken,
    ...(withLogits ? { logits: Array.from(logits.subarray(0, 8)) } : {}),
  };
}

function factsOf({ cache, promptTokens, ids, prefillMs, decodeMsPerToken }: Generation): string {
  const share = cache.bytes === cache.bytesFull ? "" : ` of ${bytes(cache.bytesFull)} with all heads full`;
  return dim(
    `${plural(promptTokens, "prompt token")} in ${duration(prefillMs)}, ${plural(ids.length, "new token")} at ${duration(decodeMsPerToken)} each, KV cache ${bytes(cache.bytes)}${share}`,
  );
}
