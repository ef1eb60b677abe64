import { patchTogether, readPlaces } from "../../circuits/patching/together.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { type PatchPlacesResponse, patchPlacesRequest } from "../../common/api/patching.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Activation patching of several places in one run. */
export const request = handler({
  payload: patchPlacesRequest(UNBOUNDED),
  async run({ model: ref, pairs, bos, places, node = "z", metric, direction }, context): Promise<PatchPlacesResponse> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const result = await patchTogether(model, {
      pairs,
      places: readPlaces(places.join(","), node),
      ...(bos === undefined ? {} : { prependBos: bos }),
      ...(metric ? { metric } : {}),
      ...(direction ? { direction } : {}),
      ...pacingOf(context),
    });
    return { ...result, ms: performance.now() - began };
  },
});
