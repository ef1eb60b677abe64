import { createHash } from "node:crypto";
import { z } from "zod";
import { index, shortName } from "../../common/api/fields.ts";
import {
  activationSlice,
  patternSlice,
  promptRequest,
  promptSchema,
  type SliceQuery,
} from "../../common/api/prompts.ts";
import { textScoresAnswer, textScoresRequest } from "../../common/api/text-scores.ts";
import type { ServerContext } from "../context.ts";
import { type OperationRequest, route, SENT } from "../http/route.ts";
import { Efforts } from "../interactive/efforts.ts";

const SAFETENSORS = { description: "safetensors with one tensor named as the hook", type: "application/octet-stream" };

export const promptRoutes = [
  route({
    method: "post",
    path: "/prompts",
    summary: "Runs a model on a text or token ids: losses and next tokens; the id names it in later requests",
    body: promptRequest,
    answer: { description: "Prompt", schema: promptSchema },
    async handle({ body, signal, caller }, context) {
      const { models, interactive, prompts } = context;
      const input = { ...body, model: await models.allowed(body.model) };
      const effort = await new Efforts(context, signal).prompt(input);
      const prompt = await interactive.ask("prompt", input, { signal, caller, effort });
      // With the step of a run: later requests read the weights that the id names, also when the run goes on.
      prompts.put(prompt.id, { model: prompt.model, ids: prompt.ids });
      return prompt;
    },
  }),
  route({
    method: "get",
    path: "/prompts/:id/activations/:hook",
    summary: "An activation of a prompt, or a part of it",
    params: z.object({ id: shortName, hook: z.string().max(128).describe("such as blocks.0.attn.hook_z") }),
    query: activationSlice,
    answer: SAFETENSORS,
    handle: (call, context) => tensor(call, context, { hook: call.params.hook }),
  }),
  route({
    method: "get",
    path: "/prompts/:id/patterns/:layer",
    summary: "A layer's attention pattern on a prompt [heads, query, key], or a part of it",
    params: z.object({ id: shortName, layer: index }),
    query: patternSlice,
    answer: SAFETENSORS,
    handle: (call, context) => tensor(call, context, { layer: call.params.layer }),
  }),
  route({
    method: "post",
    path: "/text-scores",
    summary: "Every head of a model on a prompt: attention along patterns, and the direct effect on an answer",
    body: textScoresRequest,
    answer: { description: "TextScoresAnswer", schema: textScoresAnswer },
    async handle({ body: { prompt, ...rest }, signal, caller }, context) {
      const { model, ids } = context.prompts.get(prompt);
      const effort = await new Efforts(context, signal).textScores(model, ids.length, rest.question !== undefined);
      return context.interactive.ask("text-scores", { ...rest, model, ids }, { signal, caller, effort });
    },
  }),
];

type TensorCall = OperationRequest<{ id: string }, SliceQuery, unknown>;

/** Answers with a tensor; to one who has it already, without computing it. */
async function tensor(
  { params, query, request, response, signal, caller }: TensorCall,
  context: ServerContext,
  place: { readonly hook: string } | { readonly layer: number },
): Promise<typeof SENT> {
  // The id names weights and tokens, so that it and the slice say all that decides the bytes.
  const kind = "hook" in place ? "activations" : "patterns";
  const key = JSON.stringify([params.id, kind, place, Object.entries(query).sort()]);
  const etag = `"${createHash("sha256").update(key).digest("hex").slice(0, 32)}"`;
  const headers = { etag, "cache-control": "private, no-cache" };
  const etags = (request.headers["if-none-match"] ?? "").split(",").map((each) => each.trim().replace(/^W\//, ""));
  if (etags.includes(etag)) {
    response.status(304).set(headers).end();
    return SENT;
  }
  const { prompts, interactive, limits } = context;
  const { model, ids } = prompts.get(params.id);
  const effort = await new Efforts(context, signal).look(model, ids.length);
  const payload = { model, ids, slice: query, most: limits.answerBytes };
  const options = { signal, caller, effort };
  const { value, body } =
    "hook" in place
      ? await interactive.exchange("activations", { ...payload, ...place }, options)
      : await interactive.exchange("patterns", { ...payload, ...place }, options);
  response.set({
    ...headers,
    "content-type": SAFETENSORS.type,
    "content-length": String(body.byteLength),
    "x-shape": value.shape.join(","),
  });
  response.end(body);
  return SENT;
}
