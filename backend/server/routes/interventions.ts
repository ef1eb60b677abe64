import { z } from "zod";
import { headList, modelRef, seed, shortName, tokenRows } from "../../common/api/fields.ts";
import { PATCH_NODES, PATCH_PLACES, PATH_ENDS, PATH_FORMS } from "../../common/patching.ts";
import { ABLATION_METHODS } from "../../common/words.ts";
import { interventionSchema } from "../../hooks/intervention-schema.ts";
import type { PatchRequest } from "../api.ts";
import type { Limits } from "../http/limits.ts";
import { answerLong } from "../http/long-answer.ts";
import { limited } from "../http/problems.ts";
import { route } from "../http/route.ts";
import { Efforts } from "../interactive/efforts.ts";

const topTokens = z.int().min(1).max(100).optional();

/** What POST /api/ablate takes: AblateRequest. */
function ablation(limits: Limits) {
  const common = {
    heads: headList(limits).describe("query heads, LAYER.HEAD"),
    method: z.enum(ABLATION_METHODS).optional(),
    byPosition: z.boolean().optional().describe("mean: one for every position"),
    reference: tokenRows(limits).optional().describe("token rows for mean and resample"),
    controls: z.int().min(0).max(32).optional().describe("draws of as many other heads of the same layers"),
    seed: seed.optional(),
    topTokens,
    contrast: z
      .strictObject({ position: z.int().min(1), wrong: z.int().min(0) })
      .optional()
      .describe("a token of the single row against a wrong one: logit difference in each run"),
  };
  return z.union([
    z.strictObject({ prompt: shortName.describe("a prompt's id"), ...common }),
    z.strictObject({ model: modelRef, rows: tokenRows(limits), ...common }),
  ]);
}

function pair({ textCharacters, promptTokens }: Limits) {
  const side = z.union([z.string().min(1).max(textCharacters), z.array(z.int().min(0)).min(1).max(promptTokens)]);
  const answer = z.union([z.string().min(1).max(256), z.int().min(0)]);
  return z.strictObject({ clean: side, corrupt: side, answer, wrong: answer });
}

const bos = z.boolean().optional();

/** Refuses more tokens than one request may have, whatever they are for. @throws Refusal 422 */
function checkTokens(rows: readonly (readonly number[])[], { rowTokens }: Limits): void {
  const tokens = rows.reduce((sum, row) => sum + row.length, 0);
  if (tokens > rowTokens)
    throw limited(422, `${tokens} tokens are more than ${rowTokens}`, "give fewer or shorter rows");
}

/** The token rows that an intervention works from. */
function referenceRows({ with: source }: z.output<typeof interventionSchema>): readonly (readonly number[])[] {
  return typeof source === "object" && "tokens" in source ? source.tokens : [];
}

export const interventionRoutes = [
  route({
    method: "post",
    path: "/ablate",
    summary: "Losses and next tokens without some heads, beside as many others of the same layers",
    body: ablation,
    answer: { description: "AblateResult" },
    async handle({ body, signal, caller }, context) {
      const { prompts, models, interactive, limits } = context;
      if (!("prompt" in body)) {
        checkTokens([...body.rows, ...(body.reference ?? [])], limits);
        const model = await models.allowed(body.model);
        const effort = await new Efforts(context, signal).ablation(model, body.rows, body);
        return interactive.ask("ablate", { ...body, model }, { signal, caller, effort, long: true });
      }
      const { prompt, ...rest } = body;
      checkTokens(body.reference ?? [], limits);
      const { model, ids } = prompts.get(prompt);
      const effort = await new Efforts(context, signal).ablation(model, [ids], body);
      return interactive.ask("ablate", { ...rest, model, rows: [ids] }, { signal, caller, effort });
    },
  }),
  route({
    method: "post",
    path: "/intervene",
    summary: "Losses and next tokens of a prompt with any interventions, given as data",
    body: ({ entries }) =>
      z.strictObject({
        prompt: shortName.describe("a prompt's id"),
        interventions: z.array(interventionSchema).max(entries),
        topTokens,
      }),
    answer: { description: "InterveneResult" },
    async handle({ body: { prompt, ...rest }, signal, caller }, context) {
      const { prompts, interactive, limits } = context;
      checkTokens(rest.interventions.flatMap(referenceRows), limits);
      const { model, ids } = prompts.get(prompt);
      const effort = await new Efforts(context, signal).intervention(model, ids.length);
      return interactive.ask("intervene", { ...rest, model, ids }, { signal, caller, effort });
    },
  }),
  route({
    method: "post",
    path: "/pairs",
    summary: "Aligns a clean and a corrupt prompt, and says why they could not be patched",
    body: (limits) => z.strictObject({ model: modelRef, pair: pair(limits), bos }),
    answer: { description: "PairAlignment" },
    async handle({ body, signal, caller }, context) {
      const model = await context.models.allowed(body.model);
      const effort = await new Efforts(context, signal).pair(model, body.pair, body.bos);
      return context.interactive.ask("pairs", { ...body, model }, { signal, caller, effort });
    },
  }),
  route({
    method: "post",
    path: "/patch",
    summary:
      "Activation patching; with `into` and `through` path patching. Streams where text/event-stream is accepted",
    body: (limits) =>
      z.strictObject({
        model: modelRef,
        pairs: z.array(pair(limits)).min(1).max(limits.rows),
        bos,
        node: z.enum(PATCH_NODES).optional(),
        by: z.enum(PATCH_PLACES).optional(),
        layers: z.array(z.int().min(0)).min(1).max(limits.entries).optional(),
        into: headList(limits).min(1).optional(),
        through: z.enum(PATH_ENDS).optional(),
        form: z.enum(PATH_FORMS).optional().describe("of path patching; default direct"),
      }),
    answer: { description: "PatchResponse, or events progress, done, error" },
    async handle(call, context) {
      const sides = call.body.pairs.flatMap(({ clean, corrupt }) => [clean, corrupt]);
      checkTokens(
        sides.filter((side) => Array.isArray(side)),
        context.limits,
      );
      const model = await context.models.allowed(call.body.model);
      const payload = { ...call.body, model } as PatchRequest;
      const effort = await new Efforts(context, call.signal).patch(payload);
      return answerLong(call, context, { kind: "patch", payload, effort });
    },
  }),
];
