import type { Command } from "commander";
import { HeadscopeError } from "../../common/errors.ts";
import type { Intervention } from "../../hooks/interventions.ts";
import type { Generation } from "../../inference/generate.ts";
import type { Stop, Stopped } from "../../inference/stop-rule.ts";
import type { Model } from "../../models/model.ts";
import { output } from "../../setup/terminal.mjs";
import { runs } from "../context.ts";
import {
  integer,
  interventionsOption,
  type ModelOptions,
  modelOptions,
  paramOption,
  real,
  seedOption,
  type TokenOptions,
  tokenOptions,
} from "../options.ts";
import { bytes, dim, duration, plural } from "../text/format.ts";

interface GenerateCommandOptions extends ModelOptions, TokenOptions {
  chat?: boolean;
  maxTokens: number;
  temperature: number;
  seed: number;
  mask?: string;
  ablate?: string;
  stop?: Stop[];
  interventions?: string;
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
    .option(
      "--mask <file>",
      "head mask: its streaming heads keep first and recent tokens only, its ablated heads write 0",
    )
    .option(
      "--stop <text|id>",
      "a text or token id that ends it, beside the model's own; may be repeated. A text of digits is written '\"42\"'",
      (value: string, before: Stop[] = []) => [...before, readStop(value)],
    )
    .option("--ablate <heads>", "heads whose output is 0 at every position: 18.6,17.3 or top:8@scores.json#metric");
  interventionsOption(
    command,
    "what to change in every step; positions are those of the sequence: the prompt, then the new tokens",
  );
  seedOption(command);
  paramOption(command, "prefill=masked (default) or prefill=dense: whether the mask holds during the prompt").option(
    "--with-logits",
    "print the first eight logits of the first new token",
  );
  runs<GenerateCommandOptions>(command, async (context, options) => {
    const [{ withModel }, { readMask }, { generate }, { ownStops }, { checkModel, headModel }, parameters] =
      await Promise.all([
        import("../model.ts"),
        import("../../heads/mask.ts"),
        import("../../inference/generate.ts"),
        import("../../inference/stop-rule.ts"),
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
      const interventions = await changesOf(model, options);
      const types = !context.json && output.isTTY;
      let typed = "";
      const result = await generate(model, {
        tokens,
        maxTokens: options.maxTokens,
        temperature: options.temperature,
        seed: options.seed,
        stop: ownStops(model, options.stop),
        ...(mask === undefined ? {} : { mask, prefill: parameters.prefill }),
        interventions,
        signal: context.signal,
        onToken: (_, text) => {
          if (types) void output.write(text);
          else context.progress(++done, options.maxTokens, "new tokens");
          typed += text;
        },
      });
      const text = result.text ?? result.ids.join(" ");
      await context.print(documentOf(result, options.withLogits === true), () =>
        // On a terminal all but what was held back at the end stands there already.
        [types ? text.slice(typed.length) : text, "", factsOf(result, model)].join("\n"),
      );
    });
  });
}

/** Heads taken out, then the interventions of a file. */
async function changesOf(model: Model, { ablate, interventions }: GenerateCommandOptions): Promise<Intervention[]> {
  const [{ readInterventions }, { zeroHeads }, { headModel }, { parseHeads }] = await Promise.all([
    import("../case-files.ts"),
    import("../../hooks/zero-heads.ts"),
    import("../../heads/model.ts"),
    import("../../heads/refs.ts"),
  ]);
  const heads = ablate === undefined ? [] : await parseHeads(ablate, headModel(model));
  return [...zeroHeads(heads), ...(interventions === undefined ? [] : await readInterventions(interventions))];
}

/** Reads a stop: digits are a token id, a JSON string is the text in it, and anything else is the text itself. */
function readStop(value: string): Stop {
  if (/^\d+$/.test(value)) return Number(value);
  if (!/^".*"$/s.test(value)) return value;
  try {
    return JSON.parse(value) as string;
  } catch {
    return value;
  }
}

const PREFILL = ["masked", "dense"] as const;

/** The parameters of a generation with a mask. @throws HeadscopeError `usage` */
async function readParameters(pairs: readonly string[]): Promise<{ prefill: (typeof PREFILL)[number] }> {
  const [{ parseParameters, readPairs }, { z }] = await Promise.all([
    import("../../common/definitions/definition.ts"),
    import("zod"),
  ]);
  const schema = z.object({
    prefill: z.enum(PREFILL).default("masked").describe("whether the mask holds during the prompt, or only after it"),
  });
  return parseParameters("generate", schema, readPairs(pairs));
}

async function promptOf(model: Model, options: GenerateCommandOptions): Promise<number[]> {
  const { tokensOf } = await import("../inputs.ts");
  if (options.chat) {
    if (options.text === undefined) throw new HeadscopeError("usage", "--chat needs a text", { remedy: "give --text" });
    const { requireTokenizer } = await import("../../models/tokens.ts");
    const tokenizer = requireTokenizer(model, { remedy: "give token ids with --tokens-file" });
    return tokenizer.encode(tokenizer.chat([{ role: "user", content: options.text }], { addGenerationPrompt: true }), {
      prependBos: false,
    });
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
  const { text, ids, stopped, cache, promptTokens, prefillMs, decodeMsPerToken, logits } = result;
  return {
    ...(text === undefined ? {} : { text }),
    ids,
    stopped,
    cache,
    promptTokens,
    prefillMs,
    decodeMsPerToken,
    ...(withLogits ? { logits: Array.from(logits.subarray(0, 8)) } : {}),
  };
}

function factsOf(result: Generation, { tokenizer }: Model): string {
  const { cache, promptTokens, ids, stopped, prefillMs, decodeMsPerToken } = result;
  const share = cache.bytes === cache.bytesFull ? "" : ` of ${bytes(cache.bytesFull)} with all heads full`;
  return dim(
    `${plural(promptTokens, "prompt token")} in ${duration(prefillMs)}, ${plural(ids.length, "new token")} at ${duration(decodeMsPerToken)} each, ${endOf(stopped, tokenizer)}, KV cache ${bytes(cache.bytes)}${share}`,
  );
}

function endOf(stopped: Stopped, tokenizer: Model["tokenizer"]): string {
  if (stopped.by === "limit") return "as many as were asked for";
  if (stopped.by === "text") return `ended by ${JSON.stringify(stopped.text)}`;
  return `ended by token ${stopped.id}${tokenizer ? ` ${JSON.stringify(tokenizer.token(stopped.id))}` : ""}`;
}
