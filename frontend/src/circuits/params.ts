import type { CircuitGroup } from "../../../backend/common/api/circuits.ts";
import { CIRCUIT_METHODS } from "../../../backend/common/words.ts";
import { choice, json, list, number, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";

/** The method that scores edges. */
export const methodParam = urlParam("circuit-by", choice(CIRCUIT_METHODS, "eap-ig"));
/** Parameters of the method as text, by name; those left out take their default. */
export const methodParams = urlParam("circuit-params", json<Readonly<Record<string, string>>>({}));
/** Edges of the circuit that is drawn. */
export const edgesParam = urlParam("edges", number(20, { least: 1, most: 200, whole: true }));
/** Name of the node or group that is kept, such as a1.h0; "" for none. */
export const keptParam = urlParam("circuit-node", text());
/** Nodes and edges that are switched off, by their names. */
export const offParam = urlParam("circuit-off", list());
/** Names that the reader gave nodes. */
export const namesParam = urlParam("circuit-names", json<Readonly<Record<string, string>>>({}));
/** Nodes that the reader took together. */
export const groupsParam = urlParam("circuit-groups", json<readonly CircuitGroup[]>([]));
