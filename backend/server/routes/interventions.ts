import type { z } from "zod";
import { circuitAnswer, circuitRequest, circuitRunAnswer, circuitRunRequest } from "../../common/api/circuits.ts";
import { ablateRequest, ablateResult, interveneRequest, interveneResult } from "../../common/api/interventions.ts";
import { pairSampleAnswer, pairSampleRequest } from "../../common/api/pair-samples.ts";
import { pairAlignment, pairRequest, patchRequest, patchResponse } from "../../common/api/patching.ts";
import { headRolesAnswer, headRolesRequest } from "../../common/api/roles.ts";
import { interventionSchema } from "../../hooks/intervention-schema.ts";
import { answerLong } from "../http/long-answer.ts";
import { route } from "../http/route.ts";
import { checkTokens } from "../http/token-rows.ts";
import { Efforts } from "../interactive/efforts.ts";
import { promptWork } from "../interactive/prompt-work.ts";

/** The token rows that an intervention works from. */
function referenceRows({ with: source }: z.output<typeof interventionSchema>): readonly (readonly number[])[] {
  return typeof source === "object" && "tokens" in source ? source.tokens : [];
}

export const interventionRoutes = [
  route({
    method: "post",
    path: "/ablate",
    summary: "Losses and next tokens without some heads, beside as many others of the same layers",
    body: ablateRequest,
    answer: { description: "AblateResult", schema: ablateResult },
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
    body: (limits) => interveneRequest(limits, interventionSchema),
    answer: { description: "InterveneResult", schema: interveneResult },
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
    body: pairRequest,
    answer: { description: "PairAlignment", schema: pairAlignment },
    async handle({ body, signal, caller }, context) {
      const model = await context.models.allowed(body.model);
      const effort = await new Efforts(context, signal).pair(model, body.pair, body.bos);
      return context.interactive.ask("pairs", { ...body, model }, { signal, caller, effort });
    },
  }),
  route({
    method: "post",
    path: "/circuits",
    summary:
      "The edges between heads and MLPs that answer a question, and their runs alone. Streams where text/event-stream is accepted",
    body: circuitRequest,
    answer: { description: "CircuitAnswer, or events progress, done, error", schema: circuitAnswer, events: true },
    async handle(call, context) {
      const work = await promptWork(call, context, (efforts, payload) => efforts.circuit(payload));
      return answerLong(call, context, { kind: "circuit", ...work });
    },
  }),
  route({
    method: "post",
    path: "/circuit-runs",
    summary: "Pairs' clean prompts with the corrupt ones' outputs on every edge but some",
    body: circuitRunRequest,
    answer: { description: "CircuitRunAnswer", schema: circuitRunAnswer },
    async handle(call, context) {
      const { signal, caller } = call;
      const { payload, effort } = await promptWork(call, context, (efforts, payload) => efforts.circuitRun(payload));
      return context.interactive.ask("circuit-run", payload, { signal, caller, effort });
    },
  }),
  route({
    method: "post",
    path: "/circuit-roles",
    summary:
      "Roles that heads seem to have on some pairs, with the numbers behind them. Streams where text/event-stream is accepted",
    body: headRolesRequest,
    answer: { description: "HeadRoles, or events progress, done, error", schema: headRolesAnswer, events: true },
    async handle(call, context) {
      const work = await promptWork(call, context, (efforts, payload) => efforts.headRoles(payload));
      return answerLong(call, context, { kind: "circuit-roles", ...work });
    },
  }),
  route({
    method: "post",
    path: "/pair-samples",
    summary: "Draws minimal pairs of a task for a model, and says how often it answers them right",
    body: () => pairSampleRequest,
    answer: { description: "PairSample", schema: pairSampleAnswer },
    async handle({ body, signal, caller }, context) {
      const model = await context.models.allowed(body.model);
      const effort = await new Efforts(context, signal).pairSample({ ...body, model });
      return context.interactive.ask("pair-sample", { ...body, model }, { signal, caller, effort, long: true });
    },
  }),
  route({
    method: "post",
    path: "/patch",
    summary:
      "Activation patching; with `into` and `through` path patching. Streams where text/event-stream is accepted",
    body: patchRequest,
    answer: { description: "PatchResponse, or events progress, done, error", schema: patchResponse, events: true },
    async handle(call, context) {
      const work = await promptWork(call, context, (efforts, payload) => efforts.patch(payload));
      return answerLong(call, context, { kind: "patch", ...work });
    },
  }),
];
