import { createHash } from "node:crypto";
import { z } from "zod";
import { index, modelRef, promptFields, shortName } from "../../common/api/fields.ts";
import { TENSOR_TYPES } from "../../common/words.ts";
import type { Prompt, PromptInput } from "../api.ts";
import type { ServerContext } from "../context.ts";
import { type Call, route, SENT } from "../http/route.ts";
import { Efforts } from "../interactive/efforts.ts";

const range = z
  .string()
  .regex(/^\d{0,7}:\d{0,7}$/, "must be START:END")
  .optional();
const slice = {
  heads: z
    .string()
    .max(4096)
    .regex(/^\d+(,\d+)*$/, "must be heads with commas between them")
    .optional()
    .describe("heads, such as 0,3, each once; default all. Of k and v KV heads"),
  queries: range.describe("positions or queries [start, end), such as 0:10"),
  dtype: z.enum(TENSOR_TYPES).optional().describe("of the tensor, default f32"),
};
const SAFETENSORS = { description: "safetensors with one tensor named as the hook", type: "application/octet-stream" };

export const promptRoutes = [
  route({
    method: "post",
    path: "/prompts",
    summary: "Runs a model on a text or token ids: losses and next tokens; the id names it in later requests",
    body: (limits) => {
      const { text, tokens } = promptFields(limits);
      return z.union([z.strictObject({ model: modelRef, ...text }), z.strictObject({ model: modelRef, ...tokens })]);
    },
    answer: { description: "Prompt" },
    async handle({ body, signal, caller }, context) {
      const { models, interactive, prompts } = context;
      const input = { ...body, model: await models.allowed(body.model) } as PromptInput;
      const effort = await new Efforts(context, signal).prompt(input);
      const prompt = await interactive.ask<Prompt>("prompt", input, { signal, caller, effort });
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
    query: z.strictObject({ ...slice, keys: range.describe("keys [start, end), of patterns") }),
    answer: SAFETENSORS,
    handle: (call, context) => tensor(call, context, "activations", { hook: call.params.hook }),
  }),
  route({
    method: "get",
    path: "/prompts/:id/patterns/:layer",
    summary: "A layer's attention pattern on a prompt [heads, query, key], or a part of it",
    params: z.object({ id: shortName, layer: index }),
    query: z.strictObject({
      ...slice,
      keys: range.describe("keys [start, end), such as 0:10"),
      weighted: z
        .literal("value")
        .optional()
        .describe("multiplies each key by the norm of what its value writes through W_O"),
    }),
    answer: SAFETENSORS,
    handle: (call, context) => tensor(call, context, "patterns", { layer: call.params.layer }),
  }),
];

type TensorCall = Call<{ id: string }, Readonly<Record<string, string | undefined>>, unknown>;

/** Answers with a tensor; to one who has it already, without computing it. */
async function tensor(
  { params, query, request, response, signal, caller }: TensorCall,
  context: ServerContext,
  kind: "activations" | "patterns",
  what: Readonly<Record<string, unknown>>,
): Promise<typeof SENT> {
  // The id names weights and tokens, so that it and the slice say all that decides the bytes.
  const key = JSON.stringify([params.id, kind, what, Object.entries(query).sort()]);
  const etag = `"${createHash("sha256").update(key).digest("hex").slice(0, 32)}"`;
  const headers = { etag, "cache-control": "private, no-cache" };
  const known = (request.headers["if-none-match"] ?? "").split(",").map((each) => each.trim().replace(/^W\//, ""));
  if (known.includes(etag)) {
    response.status(304).set(headers).end();
    return SENT;
  }
  const { prompts, interactive, limits } = context;
  const { model, ids } = prompts.get(params.id);
  const effort = await new Efforts(context, signal).look(model, ids.length);
  const payload = { model, ids, ...what, slice: query, most: limits.answerBytes };
  const { value, body } = await interactive.exchange<{ shape: readonly number[] }>(kind, payload, {
    signal,
    caller,
    effort,
  });
  response.set({
    ...headers,
    "content-type": SAFETENSORS.type,
    "content-length": String(body.byteLength),
    "x-shape": value.shape.join(","),
  });
  response.end(body);
  return SENT;
}
