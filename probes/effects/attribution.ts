import { z } from "zod";
import { findCircuit } from "../../backend/circuits/edges/find-circuit.ts";
import { type Probe, summarise } from "../base.ts";
import { needlePairParameters, needlePairs } from "./needle-pairs.ts";

const parameters = z.object({
  ...needlePairParameters,
  method: z.enum(["eap", "eap-ig"]).default("eap").describe("estimate of the edges' effects (headscope circuit find)"),
});

/** Heads of the circuit that finds a needle, by the first-order effect of their outputs. */
export const needleAttribution: Probe<typeof parameters> = {
  name: "needle-attribution",
  title: "Part in the circuit that finds a needle",
  description:
    "The sum of the estimated effects of all edges out of a head, with the sign turned: by how much the logit difference of a needle question would fall if the head's " +
    "output were that of a text which names another number. Mean over the questions; all heads in a few runs.",
  source: "Nanda 2023, Attribution Patching; Syed et al. 2023, EAP; Hanna et al. 2024, EAP-IG",
  parameters,
  meanings: {
    "needle-attribution": {
      meaning: "Estimated fall of the answer's logit difference with the head's output corrupted.",
    },
  },
  async run(model, { method, ...given }, context) {
    const { pairs, params } = needlePairs(model, "needle-attribution", given, context);
    const { n_layers, n_heads } = model.config;
    const { signal, progress } = context;
    const nodes = n_layers * (n_heads + 1);
    const circuit = await findCircuit(model, {
      pairs,
      method,
      level: "node",
      nodes,
      ...(progress && { progress }),
      ...(signal && { signal }),
    });
    const scores = new Map(circuit.nodes!.map(({ node, score }) => [node, score]));
    const values = Array.from({ length: n_layers }, (_, l) =>
      Array.from({ length: n_heads }, (_, h) => -(scores.get(`a${l}.h${h}`) ?? 0)),
    );
    return {
      params: { ...params, method },
      tokens: pairs.map((pair) => pair.clean),
      metrics: { "needle-attribution": { axis: "heads", values } },
      summary: { ...summarise(values), clean: circuit.clean, corrupt: circuit.corrupt },
    };
  },
};
