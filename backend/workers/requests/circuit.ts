import { findCircuit } from "../../circuits/edges/find-circuit.ts";
import { parseCircuitParameters } from "../../circuits/edges/methods/index.ts";
import { circuitCurve } from "../../circuits/edges/run-circuit.ts";
import { type CircuitAnswer, circuitRequest } from "../../common/api/circuits.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { curveSizes } from "../../common/circuits.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Finds the edges that answer a question, and runs the first of them alone at several sizes. */
export const request = handler({
  payload: circuitRequest(UNBOUNDED),
  async run(payload, context): Promise<CircuitAnswer> {
    const began = performance.now();
    const { model: ref, pairs, bos, metric, method, steps, edges } = payload;
    const params = { ...(steps === undefined ? {} : { steps }), ...payload.params };
    parseCircuitParameters(method, params); // before the model is loaded, which takes seconds
    const model = await session.models.open(ref, context.signal);
    const work = { pairs, metric, ...(bos === undefined ? {} : { prependBos: bos }), ...pacingOf(context) };
    const circuit = await findCircuit(model, { ...work, method, params, edges });
    const curve = await circuitCurve(model, { ...work, circuit, sizes: curveSizes(circuit.edges.length) });
    return { circuit, curve, ms: performance.now() - began };
  },
});
