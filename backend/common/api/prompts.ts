import { z } from "zod";
import { TENSOR_TYPES } from "../words.ts";
import { type Bounds, type Data, type Input, modelRef, promptFields, refuseEmpty } from "./fields.ts";

/** Schema of a text, or token ids, for a model. */
export function promptRequest(bounds: Bounds) {
  const { text, tokens } = promptFields(bounds);
  return z.union([
    z.strictObject({ model: modelRef, ...text }).superRefine(({ text, bos }, context) => {
      if (!bos) refuseEmpty(text, ["text"], context);
    }),
    z.strictObject({ model: modelRef, ...tokens }),
  ]);
}
export type PromptInput = Input<typeof promptRequest>;

/** Schema of a token that may come next. */
export const candidateSchema = z.object({ id: z.int(), text: z.string(), probability: z.number() });
export type Candidate = Data<typeof candidateSchema>;

/** Schema of the losses of a run: of each token given those before it, and their mean. */
export const runLosses = {
  nll: z.array(z.number()).describe("loss of each token from the second on: one fewer than ids"),
  loss: z.number().nullable(),
  next: z.array(candidateSchema).describe("likeliest tokens after the last one, best first"),
};

/** Schema of a prompt that was run; what later requests read is kept. */
export const promptSchema = z.object({
  id: z
    .string()
    .describe(
      "names the model's weights and the token ids; later requests give it instead of the tokens. Kept while there is room: 404 says post again",
    ),
  model: z.string().describe("with the step, where the model is a run: later requests read the same weights"),
  digest: z.string(),
  ids: z.array(z.int()),
  tokens: z.array(z.string()).describe("each token alone as text, the ids in a model without a tokenizer"),
  ...runLosses,
  ms: z.number(),
});
export type Prompt = Data<typeof promptSchema>;

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

/** Schema of the query for a part of an activation. */
export const activationSlice = z.strictObject({ ...slice, keys: range.describe("keys [start, end), of patterns") });

/** Schema of the query for a part of a layer's pattern. */
export const patternSlice = z.strictObject({
  ...slice,
  keys: range.describe("keys [start, end), such as 0:10"),
  weighted: z
    .literal("value")
    .optional()
    .describe("multiplies each key by the norm of what its value writes through W_O"),
});
/** A part of an activation or of a pattern. */
export type SliceQuery = Input<typeof patternSlice>;
