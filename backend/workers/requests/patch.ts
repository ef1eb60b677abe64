import { patch } from "../../circuits/patching/patch.ts";
import { patchPaths } from "../../circuits/patching/path.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type PatchResponse, patchRequest } from "../../common/api/patching.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { parseHead } from "../../common/heads/head.ts";
import { headModel } from "../../common/heads/model.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Activation patching, or path patching where receivers are named. */
export const request = handler({
  payload: patchRequest(UNBOUNDED),
  async run(payload, context): Promise<PatchResponse> {
    const began = performance.now();
    const { model: ref, pairs, bos, node = "z", by = "head", layers, into, through, form } = payload;
    const model = await session.models.open(ref, context.signal);
    const common = { pairs, ...(bos === undefined ? {} : { prependBos: bos }), ...pacingOf(context) };
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
