import type { Circuit } from "../../../backend/common/api/circuits.ts";
import { type CircuitNode, readNode } from "../../../backend/common/circuits.ts";
import type { HeadShape } from "../../../backend/common/heads/head.ts";
import { edgeName, nodeName } from "./switches.ts";

/** A node where it stands, in pixels. */
export interface PlacedNode extends CircuitNode {
  /** Without the input: edges into a head's queries, keys and values meet in it. */
  readonly name: string;
  /** As it is written: "18.6", "MLP 3". */
  readonly label: string;
  readonly x: number;
  readonly y: number;
}

/** An edge as a curve from its source up to its destination. */
export interface PlacedEdge {
  readonly from: PlacedNode;
  readonly to: PlacedNode;
  /** Name of the edge among what is switched off. */
  readonly name: string;
  readonly ends: Edge;
  /** Input of the destination, of heads. */
  readonly input: CircuitNode["input"];
  readonly score: number;
  /** From 0 to 1, by the largest score of the circuit. */
  readonly strength: number;
  /** Of an SVG path. */
  readonly path: string;
}

/** A circuit's drawing: layers upwards, heads from left to right, so that a node stands at one place whatever else is drawn. */
export interface CircuitGraph {
  readonly width: number;
  readonly height: number;
  readonly nodes: readonly PlacedNode[];
  readonly edges: readonly PlacedEdge[];
}

type Edge = Circuit["edges"][number];

const ROW = 56;
const MARGIN = 32;
const WIDTH = 960;
/** Pixels between the places where edges into queries, keys and values meet a head. */
const INPUTS = { q: -12, k: 0, v: 12 };
/** Half the height of a node. */
export const HALF = 11;

/** Lays out the nodes that edges have. Layers without any take no room. */
export function circuitGraph(edges: readonly Edge[], { heads }: Pick<HeadShape, "heads">): CircuitGraph {
  const ends = new Map<string, CircuitNode>();
  for (const { from, to } of edges) for (const name of [from, to]) ends.set(nodeName(name), readNode(name)!);
  const rows = [...new Set([...ends.values()].map(rowOf))].sort((a, b) => a - b);
  const height = 2 * MARGIN + Math.max(0, rows.length - 1) * ROW;
  const nodes = [...ends].map(([name, node]): PlacedNode => {
    const y = height - MARGIN - rows.indexOf(rowOf(node)) * ROW;
    return { ...node, input: undefined, name, label: labelOf(node), x: columnOf(node, heads), y };
  });
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const largest = Math.max(1e-12, ...edges.map(({ score }) => Math.abs(score)));
  const placed = edges.map((ends): PlacedEdge => {
    const [from, to] = [byName.get(ends.from)!, byName.get(nodeName(ends.to))!];
    const { score } = ends;
    const { input } = readNode(ends.to)!;
    const strength = Math.abs(score) / largest;
    return { name: edgeName(ends), ends, from, to, input, score, strength, path: curve(from, to, input) };
  });
  return { width: WIDTH, height, nodes, edges: placed };
}

/** The end of an edge as a node, without the input of a head. @param name of a circuit's edge */
export function nodeOf(name: string): CircuitNode {
  return readNode(nodeName(name))!;
}

/** The head of a node; undefined for others. */
export function headOf({ kind, layer, head }: CircuitNode): string | undefined {
  return kind === "head" ? `${layer}.${head}` : undefined;
}

/** Rows from below: embedding, then heads and MLP of each layer, logits. */
function rowOf({ kind, layer }: CircuitNode): number {
  if (kind === "embed") return -1;
  return kind === "logits" ? Infinity : 2 * layer + (kind === "mlp" ? 1 : 0);
}

/** Heads by their number; what is alone in its row in the middle. */
function columnOf({ kind, head }: CircuitNode, heads: number): number {
  return kind === "head" ? MARGIN + ((head + 0.5) * (WIDTH - 2 * MARGIN)) / heads : WIDTH / 2;
}

/** The end of an edge as it is written: "18.6 q". @param name of a circuit's edge */
export function endLabel(name: string): string {
  const node = readNode(name)!;
  return node.input === undefined ? labelOf(node) : `${labelOf(node)} ${node.input}`;
}

function labelOf({ kind, layer, head }: CircuitNode): string {
  return kind === "head" ? `${layer}.${head}` : kind === "mlp" ? `MLP ${layer}` : kind;
}

function curve(from: PlacedNode, to: PlacedNode, input: CircuitNode["input"]): string {
  const [x0, y0] = [from.x, from.y - HALF];
  const [x1, y1] = [to.x + (input === undefined ? 0 : INPUTS[input]), to.y + HALF];
  const bend = (y0 - y1) / 2;
  return `M${x0} ${y0}C${x0} ${y0 - bend} ${x1} ${y1 + bend} ${x1} ${y1}`;
}
