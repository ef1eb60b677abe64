import { type HeadContexts, headContexts } from "../../circuits/corpus/contexts.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { headModel } from "../../common/heads/model.ts";
import { parseHeads } from "../../heads/refs.ts";
import { readText } from "../../json.ts";
import type { Model } from "../../models/model.ts";
import { checkFits } from "../../models/tokens.ts";
import type { Context } from "../context.ts";
import { encode, input, readTokens } from "../inputs/tokens.ts";
import { withStudiedModel } from "../model.ts";
import type { StudiedModelOptions } from "../options.ts";
import { contextsText } from "../text/contexts.ts";

/** Options of `headscope contexts`. */
export interface ContextsCommandOptions extends StudiedModelOptions {
  heads: string;
  corpusFile?: string;
  tokensFile?: string;
  length?: number;
  rows: number;
  top: number;
}

/** Tokens of a row of the corpus unless told otherwise. */
const LENGTH = 128;

/** Looks at heads in a corpus. */
export async function lookAtContexts(context: Context, options: ContextsCommandOptions): Promise<void> {
  const { corpusFile, tokensFile, top } = options;
  if ((corpusFile === undefined) === (tokensFile === undefined))
    throw new HeadscopeError(
      "usage",
      corpusFile === undefined ? "no corpus is given" : "--corpus-file and --tokens-file cannot go together",
      { remedy: "give one of --corpus-file and --tokens-file" },
    );
  await withStudiedModel(context, options, async (model) => {
    const heads = await parseHeads(options.heads, headModel(model));
    const rows = tokensFile === undefined ? await corpusRows(corpusFile!, model, options) : await readTokens(tokensFile, { config: model.config, least: 2, equalRows: "a look at contexts" }); // biome-ignore format: one line
    const tokens = rows.slice(0, options.rows);
    const { signal, progress } = context;
    const found = await headContexts(model, { heads, tokens, top, signal, progress });
    const document = {
      model: { ref: model.ref, digest: model.digest },
      rows: tokens.length,
      length: tokens[0]!.length,
      heads: found.map((one) => withTokens(one, tokens, model)),
    };
    await context.print(document, () => contextsText(found, { model, tokens }));
  });
}

/** A text as rows of one length; what is left at its end is dropped. Each begins as the tokenizer begins a text. */
async function corpusRows(path: string, model: Model, options: ContextsCommandOptions): Promise<number[][]> {
  const { length = Math.min(LENGTH, model.config.n_ctx) } = options;
  checkFits(length, "a row of the corpus", model.config);
  const ids = encode(model, await readText(path, "corpus file"));
  const { bos } = model.tokenizer!;
  const begins = bos !== undefined && ids[0] === bos;
  const text = begins ? ids.slice(1) : ids;
  const own = begins ? length - 1 : length;
  if (text.length < own)
    throw input(
      `${path} has ${ids.length} tokens, fewer than a row of ${length}`,
      "give a longer text, or a smaller --length",
    );
  return Array.from({ length: Math.floor(text.length / own) }, (_, r) => [
    ...(begins ? [bos] : []),
    ...text.slice(r * own, (r + 1) * own),
  ]);
}

/** Contexts with the tokens of their query and key. */
function withTokens({ contexts, ...rest }: HeadContexts, rows: readonly (readonly number[])[], { tokenizer }: Model) {
  const named = (id: number) => ({ id, ...(tokenizer ? { text: tokenizer.token(id) } : {}) });
  return {
    ...rest,
    contexts: contexts.map((one) => ({
      ...one,
      queryToken: named(rows[one.row]![one.query]!),
      keyToken: named(rows[one.row]![one.key]!),
    })),
  };
}
