import { z } from "zod";
import { pairSchema } from "../../circuits/pairs.ts";
import { patch } from "../../circuits/patch.ts";
import { patchPaths } from "../../circuits/path.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { PATCH_NODES, PATCH_PLACES, PATH_ENDS, PATH_FORMS } from "../../common/patching.ts";
import { headModel } from "../../heads/model.ts";
import { parseHead } from "../../heads/refs.ts";
import type { PatchResponse } from "../../server/api.ts";
import { handler } from "../handler.ts";
import { session, wayOf } from "../session.ts";

/** Activation patching, or path patching where receivers are named. */
export const request = handler({
  payload: z.object({
    model: z.string(),
    pairs: z.array(pairSchema),
    bos: z.boolean().optional(),
    node: z.enum(PATCH_NODES).optional(),
    by: z.enum(PATCH_PLACES).optional(),
    layers: z.array(z.number()).optional(),
    into: z.array(z.string()).optional(),
    through: z.enum(PATH_ENDS).optional(),
    form: z.enum(PATH_FORMS).optional(),
  }),
  async run(payload, context): Promise<PatchResponse> {
    const began = performance.now();
    const { model: ref, pairs, bos, node = "z", by = "head", layers, into, through, form } = payload;
    const model = await session.models.open(ref, context.signal);
    const common = { pairs, ...(bos === undefined ? {} : { prependBos: bos }), ...wayOf(context) };
    if (into === undefined && through === undefined && form === undefined) {
      const result = await patch(model, { ...common, node, by, ...(layers ? { layers } : {}) });
      return { ...result, ms: performance.now() - began };
    }
    if (into === undefined || through === undefined || node !== "z" || by !== "head")
      throw new HeadscopeError("usage", "path patching needs `into` and `through`, and goes by head over z", {
        remedy: "give both, and leave `node` and `by` out",
      });
    const shape = headModel(model);
    const result = await patchPaths(model, {
      ...common,
      into: into.map((head) => parseHead(head, shape)),
      through,
      ...(form ? { form } : {}),
    });
    return { ...result, ms: performance.now() - began };
  },
});
