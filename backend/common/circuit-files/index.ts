import type { Circuit } from "../api/circuits.ts";
import { HeadscopeError } from "../errors.ts";
import { type HeadMask, maskFromHeads } from "../heads/mask.ts";
import { headsOutside } from "./nodes.ts";

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
  return maskFromHeads(model, headsOutside(edges, model), source);
}

export { dotText, graphmlText } from "./graphs.ts";
export { neuronpediaGraph } from "./neuronpedia.ts";
