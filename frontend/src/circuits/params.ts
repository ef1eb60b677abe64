import { CIRCUIT_METHODS } from "../../../backend/common/words.ts";
import { choice, list, number, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";

/** The method that scores edges. */
export const methodParam = urlParam("circuit-by", choice(CIRCUIT_METHODS, "eap-ig"));
/** Edges of the circuit that is drawn. */
export const edgesParam = urlParam("edges", number(20, { least: 1, most: 200, whole: true }));
/** Name of the node that is kept, such as a1.h0; "" for none. */
export const keptParam = urlParam("circuit-node", text());
/** Nodes and edges that are switched off, by their names. */
export const offParam = urlParam("circuit-off", list());
