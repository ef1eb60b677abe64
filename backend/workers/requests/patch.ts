import { patch } from "../../circuits/patching/patch.ts";
import { patchPaths } from "../../circuits/patching/path.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type PatchResponse, patchRequest } from "../../common/api/patching.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Activation patching, or path patching where receivers are named. */
export const request = handler({
  payload: patchRequest(UNBOUNDED),
  async run(payload, context): Promise<PatchResponse> {
    const began = performance.now();
    const {
      model: ref,
      pairs,
      bos,
      node = "z",
      by = "head",
      group,
      layers,
      method,
      metric,
      direction,
      ...path
    } = payload;
    const { into, through, kvGroup, mlps, from } = path;
    const model = await session.models.open(ref, context.signal);
    const common = {
      pairs,
      ...(bos === undefined ? {} : { prependBos: bos }),
      ...(metric ? { metric } : {}),
      ...(direction ? { direction } : {}),
      ...pacingOf(context),
    };
    if ([into, through, kvGroup, mlps, from].every((value) => value === undefined)) {
      const rest = { group, ...(layers ? { layers } : {}), ...(method ? { method } : {}) };
      const result = await patch(model, { ...common, node, by, ...rest });
      return { ...result, ms: performance.now() - began };
    }
    if (
      into === undefined ||
      node !== "z" ||
      by !== "head" ||
      group !== undefined ||
      layers ||
      method === "attribution"
    )
      throw new HeadscopeError("usage", "path patching needs `into`, and runs every earlier head", {
        remedy: "give it, and leave `node`, `by`, `group`, `layers` and `method` out",
      });
    const result = await patchPaths(model, {
      ...common,
      into,
      ...(through ? { through } : {}),
      ...(kvGroup === undefined ? {} : { kvGroup }),
      ...(mlps ? { mlps } : {}),
      ...(from ? { from } : {}),
    });
    return { ...result, ms: performance.now() - began };
  },
});
