import { headRoles } from "../../circuits/roles/roles.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type HeadRolesAnswer, headRolesRequest } from "../../common/api/roles.ts";
import { parseHead } from "../../common/heads/head.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Suggests the roles of heads on some pairs. */
export const request = handler({
  payload: headRolesRequest(UNBOUNDED),
  async run({ model: ref, pairs, bos, metric, heads }, context): Promise<HeadRolesAnswer> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const shape = { layers: model.config.n_layers, heads: model.config.n_heads };
    const roles = await headRoles(model, {
      pairs,
      metric,
      ...(bos === undefined ? {} : { prependBos: bos }),
      ...(heads && { heads: heads.map((head) => parseHead(head, shape)) }),
      ...pacingOf(context),
    });
    return { ...roles, ms: performance.now() - began };
  },
});
