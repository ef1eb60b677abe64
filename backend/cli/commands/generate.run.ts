import { z } from "zod";
import type { Stopped } from "../../common/api/generation.ts";
import { parseParameters, readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { counted } from "../../common/text.ts";
import { PREFILLS, type Prefill } from "../../common/words.ts";
import { readMask } from "../../heads/files.ts";
import { parseHeads } from "../../heads/refs.ts";
import type { Intervention } from "../../hooks/intervention-schema.ts";
import { zeroHeads } from "../../hooks/interventions.ts";
import { type Generation, generate } from "../../inference/generate.ts";
import { ownStops, type Stop } from "../../inference/stop-rule.ts";
import type { Model } from "../../models/model.ts";
import { requireTokenizer } from "../../models/tokens.ts";
import { output } from "../../setup/terminal.mjs";
import type { Context } from "../context.ts";
import { readInterventions } from "../inputs/case-files.ts";
import { tokensOf } from "../inputs/tokens.ts";
import { withModel } from "../model.ts";
import type { ModelOptions, TokenOptions } from "../options.ts";
import { bytes, dim, duration } from "../text/format.ts";

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

/** Continues a text or token ids. */
export async function continueText(context: Context, options: GenerateCommandOptions): Promise<void> {
  const parameters = await readParameters(options.param ?? []);
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
      mask,
      prefill: mask && parameters.prefill,
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
}

/** Heads taken out, then the interventions of a file. */
async function changesOf(model: Model, { ablate, interventions }: GenerateCommandOptions): Promise<Intervention[]> {
  const heads = ablate === undefined ? [] : await parseHeads(ablate, headModel(model));
  return [...zeroHeads(heads), ...(interventions === undefined ? [] : await readInterventions(interventions))];
}

/** The parameters of a generation with a mask. @throws HeadscopeError `usage` */
async function readParameters(pairs: readonly string[]): Promise<{ prefill: Prefill }> {
  const schema = z.object({
    prefill: z.enum(PREFILLS).default("masked").describe("whether the mask holds during the prompt, or only after it"),
  });
  return parseParameters("generate", schema, readPairs(pairs));
}

async function promptOf(model: Model, options: GenerateCommandOptions): Promise<number[]> {
  if (options.chat) {
    if (options.text === undefined) throw new HeadscopeError("usage", "--chat needs a text", { remedy: "give --text" });
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
      { remedy: "give a file of one row" },
    );
  return rows[0]!;
}

/** Document of `headscope generate --json`. */
function documentOf(result: Generation, withLogits: boolean): Record<string, unknown> {
  const { text, ids, stopped, cache, promptTokens, prefillMs, decodeMsPerToken, logits } = result;
  return {
    text,
    ids,
    stopped,
    cache,
    promptTokens,
    prefillMs,
    decodeMsPerToken,
    logits: withLogits ? Array.from(logits.subarray(0, 8)) : undefined,
  };
}

function factsOf(result: Generation, { tokenizer }: Model): string {
  const { cache, promptTokens, ids, stopped, prefillMs, decodeMsPerToken } = result;
  const share = cache.bytes === cache.bytesFull ? "" : ` of ${bytes(cache.bytesFull)} with all heads full`;
  return dim(
    `${counted(promptTokens, "prompt token")} in ${duration(prefillMs)}, ${counted(ids.length, "new token")} at ${duration(decodeMsPerToken)} each, ${endOf(stopped, tokenizer)}, KV cache ${bytes(cache.bytes)}${share}`,
  );
}

function endOf(stopped: Stopped, tokenizer: Model["tokenizer"]): string {
  if (stopped.by === "limit") return "as many as were asked for";
  if (stopped.by === "text") return `ended by ${JSON.stringify(stopped.text)}`;
  return `ended by token ${stopped.id}${tokenizer ? ` ${JSON.stringify(tokenizer.token(stopped.id))}` : ""}`;
}
