import type { Circuit } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { type HeadMask, maskFromHeads } from "../../common/heads/mask.ts";
import { nodeOf } from "./nodes.ts";

/**
 * The heads of a circuit as a head mask: those that none of its edges touches are ablated.
 * @param source of the mask, such as the circuit's file
 * @throws HeadscopeError (input) for a circuit file without its model
 */
export function circuitMask({ model, edges }: Circuit, source: HeadMask["source"] = "user"): HeadMask {
  if (!model)
    throw new HeadscopeError("input", "the circuit does not say of which model it is, which a mask must", {
      remedy: "find it again with headscope circuit find",
    });
  const kept = new Set(edges.flatMap(({ from, to }) => [from, nodeOf(to).name]));
  const ablated = Array.from({ length: model.layers * model.heads }, (_, i) => ({
    layer: Math.floor(i / model.heads),
    head: i % model.heads,
  })).filter(({ layer, head }) => !kept.has(`a${layer}.h${head}`));
  return maskFromHeads(model, ablated, source);
}

export { dotText, graphmlText } from "./graphs.ts";
export { neuronpediaGraph } from "./neuronpedia.ts";
