import { z } from "zod";
import { headScoresSchema } from "./documents.ts";
import { written } from "./exports.ts";
import { type Data, type Input, parameters, UNBOUNDED } from "./fields.ts";
import { generateRequest, generateResult } from "./generation.ts";
import { backendState } from "./health.ts";
import { ablateResult, interveneRequest, interveneResult, rowsAblation } from "./interventions.ts";
import { modelInfo } from "./models.ts";
import { pairAlignment, pairRequest, patchRequest, patchResponse } from "./patching.ts";
import { patternSlice, prompt } from "./prompts.ts";

/** A model as a worker takes it: paths, and nothing else, are absolute. */
const model = z.string();
const ids = z.array(z.number());
const input = z.union([
  z.strictObject({ model, text: z.string(), bos: z.boolean().optional() }),
  z.strictObject({ model, tokens: ids }),
]);
const text = z.string().optional();
const slice = patternSlice.extend({ heads: text, queries: text, keys: text });
const most = z.number().optional().describe("bytes that the answer may have; default any number");
const tensor = z.object({ shape: z.array(z.int()) });

/**
 * The requests of a server to its resident worker: payload and answer of each, by its kind. Bounds are the server's; what depends
 * on the model, and what an intervention may be, is checked by whoever answers.
 */
export const workerRequests = {
  describe: {
    payload: z.strictObject({ model }),
    answer: z.object({ info: modelInfo, backend: backendState }),
  },
  count: { payload: input, answer: z.object({ tokens: z.int() }) },
  prompt: { payload: input, answer: prompt },
  activations: { payload: z.strictObject({ model, ids, hook: z.string(), slice, most }), answer: tensor },
  patterns: { payload: z.strictObject({ model, ids, layer: z.int(), slice, most }), answer: tensor },
  ablate: { payload: rowsAblation(UNBOUNDED), answer: ablateResult },
  intervene: {
    payload: interveneRequest(UNBOUNDED, z.unknown()).omit({ prompt: true }).extend({ model, ids }),
    answer: interveneResult,
  },
  pairs: { payload: pairRequest(UNBOUNDED), answer: pairAlignment },
  patch: { payload: patchRequest(UNBOUNDED), answer: patchResponse },
  generate: { payload: generateRequest(UNBOUNDED, z.unknown()), answer: generateResult },
  export: {
    payload: z.strictObject({
      format: z.string(),
      scores: z.unknown().optional().describe("a document"),
      mask: z.unknown().optional().describe("a document"),
      params: parameters.optional(),
      model: model.optional(),
      out: z.string().describe("file or folder to write"),
    }),
    answer: written,
  },
  import: {
    payload: z.strictObject({
      format: z.string(),
      model,
      path: z.string().describe("file or folder"),
      params: parameters.optional(),
    }),
    answer: headScoresSchema,
  },
} as const;

/** Payload, as its sender gives it, and answer of each kind of request. */
export type WorkerRequests = {
  readonly [K in keyof typeof workerRequests]: {
    readonly payload: Input<(typeof workerRequests)[K]["payload"]>;
    readonly answer: Data<(typeof workerRequests)[K]["answer"]>;
  };
};
