import { footprintAnswer, footprintRequest } from "../../common/api/footprint.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkModel, headModel } from "../../common/heads/model.ts";
import { counted } from "../../common/text.ts";
import { heldBytes, undecidedBytes } from "../../inference/cost/held.ts";
import { choosePolicies } from "../../inference/policies/choice.ts";
import { checkSuits } from "../../inference/policies/suits.ts";
import { policyFiles } from "../../jobs/document-files.ts";
import { route } from "../http/route.ts";

export const footprintRoutes = [
  route({
    method: "post",
    path: "/footprint",
    summary: "Predicts the bytes of keys and values under policies, by length of the prompt; nothing is run",
    body: footprintRequest,
    answer: { description: "{ lengths, undecided }", schema: footprintAnswer },
    async handle({ body, signal }, context) {
      const { mask, prefill = "masked", tokens: lengths, newTokens = 1, cache = "f32" } = body;
      const policies = await choosePolicies((await policyFiles(body.policies, context)) ?? []);
      if (mask && policies.heads)
        throw new HeadscopeError("usage", "a mask and a policy both choose the heads that keep everything", {
          remedy: "leave one of them out",
          field: ["mask", "policies"],
        });
      const choice = mask ? { ...policies, heads: { mask, prefill, once: false } } : policies;
      const model = await context.models.describe(body.model, signal);
      if (mask) checkModel(mask, headModel(model), "the mask");
      const positions = model.config.n_ctx;
      const longest = Math.max(...lengths) + newTokens - 1;
      if (longest > positions)
        throw new HeadscopeError(
          "usage",
          `${counted(longest, "token")} are beyond the ${positions} positions of ${model.ref}`,
          { remedy: "give fewer tokens", field: ["tokens", "newTokens"] },
        );
      checkSuits(model, choice);
      return {
        lengths: lengths.map((tokens) => ({ tokens, ...heldBytes(model, choice, { tokens, newTokens, cache }) })),
        undecided: [...undecidedBytes(model, choice)],
      };
    },
  }),
];
