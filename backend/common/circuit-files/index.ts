import type { Circuit } from "../api/circuits.ts";
import { HeadscopeError } from "../errors.ts";
import { kvHeadOf } from "../heads/head.ts";
import { type HeadMask, maskFromHeads, maskFromKvHeads } from "../heads/mask.ts";
import type { MaskWindow } from "../heads/window.ts";
import type { OUTSIDE_CIRCUIT } from "../words.ts";
import { headsInside, headsOutside } from "./nodes.ts";

/** Options of `circuitMask`. */
export interface CircuitMaskOptions extends MaskWindow {
  /** Heads that no edge touches: ablate (default), or stream: KV heads without such a head keep `sink` and `recent` tokens. */
  readonly outside?: (typeof OUTSIDE_CIRCUIT)[number] | undefined;
  /** Of the mask, such as the circuit's file. */
  readonly source?: HeadMask["source"];
}

/**
 * The heads of a circuit as a head mask.
 * @throws HeadscopeError (input) for a circuit file without its model, (usage) for a window where the others are ablated
 */
export function circuitMask({ model, edges }: Circuit, options: CircuitMaskOptions = {}): HeadMask {
  if (!model)
    throw new HeadscopeError("input", "the circuit does not say of which model it is, which a mask must", {
      remedy: "find it again with headscope circuit find",
    });
  const { outside = "ablate", source = "user", ...window } = options;
  if (outside === "stream") {
    const full = headsInside(edges, model).map((head) => kvHeadOf(head, model));
    return maskFromKvHeads(model, full, { ...window, source });
  }
  const given = (["sink", "recent"] as const).find((name) => window[name] !== undefined);
  if (given)
    throw new HeadscopeError("usage", `${given} cannot go with heads that are ablated`, {
      remedy: "let the heads outside the circuit stream, or leave it out",
      field: given,
    });
  return maskFromHeads(model, headsOutside(edges, model), source);
}

export { dotText, graphmlText } from "./graphs.ts";
export { neuronpediaGraph } from "./neuronpedia.ts";
