import type { Circuit } from "../../../backend/common/api/circuits.ts";
import type { PairAlignment } from "../../../backend/common/api/patching.ts";
import { dotText, graphmlText } from "../../../backend/common/circuit-files/graphs.ts";
import { neuronpediaGraph } from "../../../backend/common/circuit-files/neuronpedia.ts";
import { headsOutside } from "../../../backend/common/circuit-files/nodes.ts";
import { formatHead } from "../../../backend/common/heads/head.ts";
import type { HeadMask } from "../../../backend/common/heads/mask.ts";
import { post } from "../api/client.ts";
import type { CardFile } from "../components/card/files.ts";

const NAME = "headscope-circuit";

/**
 * A circuit as the files that other programs read.
 * @param alignment of the pair whose clean prompt a graph is shown over @param textual false of a model without a tokenizer
 */
export function circuitFiles(circuit: Circuit, alignment: PairAlignment | undefined, textual = true): CardFile[] {
  const { edges, model, names, groups } = circuit;
  const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
  const whole: CardFile = {
    label: "Circuit file",
    hint: "circuit run, prune, evaluate",
    name: `${NAME}.json`,
    type: "application/json",
    content: () => json(circuit),
  };
  if (model === undefined) return [whole];
  const drawn = { edges, layers: model.layers, ref: model.ref, ...(names && { names }), ...(groups && { groups }) };
  const others: CardFile[] = [
    {
      label: "DOT",
      hint: "Graphviz",
      name: `${NAME}.dot`,
      type: "text/vnd.graphviz",
      content: () => dotText(drawn),
    },
    {
      label: "GraphML",
      hint: "Gephi, Cytoscape, networkx",
      name: `${NAME}.graphml`,
      type: "application/xml",
      content: () => graphmlText(drawn),
    },
    {
      label: "Head mask",
      hint: "only the circuit's heads",
      name: `${NAME}-mask.json`,
      type: "application/json",
      content: async () => json(await maskOf(model, edges)),
    },
  ];
  if (alignment === undefined) return [whole, ...others];
  const { clean, answer } = alignment;
  const prompt = {
    text: clean.tokens.join(textual ? "" : " "),
    tokens: clean.tokens,
    answer: answer.text,
    probability: answer.probability,
  };
  const neuronpedia: CardFile = {
    label: "Neuronpedia",
    hint: "attribution graph",
    name: `${NAME}-neuronpedia.json`,
    type: "application/json",
    content: () => json(neuronpediaGraph(drawn, prompt, NAME)),
  };
  return [whole, ...others, neuronpedia];
}

/** The mask that ablates all heads but those of some edges, as the server makes masks. @throws ApiError */
async function maskOf(model: NonNullable<Circuit["model"]>, edges: Circuit["edges"]): Promise<HeadMask> {
  const ablate = headsOutside(edges, model).map(formatHead);
  return (await post<{ mask: HeadMask }>("/api/masks", { model: model.ref, ablate })).mask;
}
