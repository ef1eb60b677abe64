import type { Circuit, CircuitLabels } from "../api/circuits.ts";
import { escapeXml } from "../figures/text.ts";
import { circuitNodes, nodeOf } from "./nodes.ts";

/** Names and layers that a drawing of a circuit needs. */
export interface DrawnCircuit extends CircuitLabels {
  readonly edges: Circuit["edges"];
  /** Layers of the model. */
  readonly layers: number;
  /** Name of the model. */
  readonly ref: string;
}

/** A circuit for Graphviz: layers upwards, red edges help the answer, blue ones work against it, as wide as their scores. */
export function dotText({ edges, layers, ref, names = {}, groups = [] }: DrawnCircuit): string {
  const nodes = circuitNodes(edges, layers);
  const there = new Set(nodes.map(({ name }) => name));
  const clusters = groups.flatMap(({ name, nodes: members }, i) => {
    const own = members.filter((member) => there.has(member)).map(quoted);
    return own.length === 0
      ? []
      : [`  subgraph ${quoted(`cluster_${i}`)} { label=${quoted(name)}; ${own.join("; ")} }`];
  });
  const called = (name: string): string =>
    names[name] === undefined ? "" : `, label=${quoted(`${names[name]} (${name})`)}`;
  const largest = Math.max(...edges.map(({ score }) => Math.abs(score)), Number.MIN_VALUE);
  const ranks = [...new Set(nodes.map(({ layer }) => layer))].map((layer) => {
    const names = nodes.filter((node) => node.layer === layer && node.kind !== "mlp").map(({ name }) => quoted(name));
    return `  { rank=same; ${names.join("; ")} }`;
  });
  const lines = edges.map(({ from, to, score }) => {
    const { name, input } = nodeOf(to);
    const width = (0.5 + (4 * Math.abs(score)) / largest).toFixed(2);
    const label = input ? `, label=${quoted(input)}` : "";
    return `  ${quoted(from)} -> ${quoted(name)} [weight=1, penwidth=${width}, color=${quoted(score < 0 ? "#b2182b" : "#2166ac")}, score=${score}${label}];`;
  });
  return [
    `digraph ${quoted(`circuit of ${ref}`)} {`,
    "  rankdir=BT;",
    ...(clusters.length > 0 ? ["  newrank=true;"] : []),
    '  node [shape=box, fontname="sans-serif"];',
    ...nodes.map(
      ({ name, kind }) => `  ${quoted(name)} [shape=${kind === "head" ? "box" : "ellipse"}${called(name)}];`,
    ),
    ...clusters,
    ...ranks,
    ...lines,
    "}",
    "",
  ].join("\n");
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

/** A circuit as GraphML, which Gephi, Cytoscape, yEd and networkx read: nodes with kind, layer, name and group, edges with score and input. */
export function graphmlText({ edges, layers, ref, names = {}, groups = [] }: DrawnCircuit): string {
  const groupOf = (node: string): string | undefined => groups.find(({ nodes }) => nodes.includes(node))?.name;
  const key = (id: string, owner: "node" | "edge", type: string): string =>
    `  <key id="${id}" for="${owner}" attr.name="${id}" attr.type="${type}"/>`;
  const data = (id: string, value: string | number | undefined): string =>
    value === undefined ? "" : `<data key="${id}">${escapeXml(String(value))}</data>`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">',
    key("kind", "node", "string"),
    key("layer", "node", "int"),
    key("head", "node", "int"),
    key("name", "node", "string"),
    key("group", "node", "string"),
    key("score", "edge", "double"),
    key("input", "edge", "string"),
    `  <graph id="${escapeXml(ref)}" edgedefault="directed">`,
    ...circuitNodes(edges, layers).map(
      ({ name, kind, layer, head }) =>
        `    <node id="${escapeXml(name)}">${data("kind", kind)}${data("layer", layer)}${data("head", head)}${data("name", names[name])}${data("group", groupOf(name))}</node>`,
    ),
    ...edges.map(({ from, to, score }, i) => {
      const { name, input } = nodeOf(to);
      return `    <edge id="e${i}" source="${escapeXml(from)}" target="${escapeXml(name)}">${data("score", score)}${data("input", input)}</edge>`;
    }),
    "  </graph>",
    "</graphml>",
    "",
  ].join("\n");
}
