import type { Circuit, CircuitGroup } from "../../../../backend/common/api/circuits.ts";
import { type CircuitNode, readNode } from "../../../../backend/common/circuits.ts";
import type { HeadShape } from "../../../../backend/common/heads/head.ts";
import { nodeName } from "../switches.ts";
import { groupCalled, type MergedEdge, mergeEdges } from "./groups.ts";

/** A node or a group where it stands, in pixels. */
export interface PlacedNode {
  /** Of the node without an input, since edges into a head's queries, keys and values meet in it; of a group as among nodes. */
  readonly name: string;
  readonly kind: CircuitNode["kind"] | "group";
  /** As it is written: "18.6", "MLP 3", or the name that it was given. */
  readonly label: string;
  /** Written below it: the place of a node that has a name, the members of a group. */
  readonly below: string;
  /** LAYER.HEAD of a head. */
  readonly head: string | undefined;
  /** Nodes that it stands for: itself, or the group's members that are drawn. */
  readonly members: readonly string[];
  readonly x: number;
  readonly y: number;
  /** Half the width. */
  readonly half: number;
}

/** An edge as a curve from its source up to its destination. */
export interface PlacedEdge extends Omit<MergedEdge, "from" | "to"> {
  /** Of its own in the drawing. */
  readonly name: string;
  readonly from: PlacedNode;
  readonly to: PlacedNode;
  /** From 0 to 1, by the largest score of the drawing. */
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

/** Shape of the drawing, and what the reader has called its nodes. */
export interface GraphOptions extends Pick<HeadShape, "heads"> {
  /** Pixels that there are; default 960. Where heads need more, it is wider. */
  readonly width?: number | undefined;
  readonly names?: Readonly<Record<string, string>> | undefined;
  readonly groups?: readonly CircuitGroup[] | undefined;
}

/** Pixels between rows; where there are many, as few as leave the edges between them to be seen. */
const [ROW, CLOSE_ROW, MANY_ROWS] = [56, 42, 12];
const MARGIN = 32;
const WIDTH = 960;
/** Width of the column of MLPs, which stands to the left of the heads. */
const MLPS = 88;
/** Least pixels between two heads. */
const COLUMN = 54;
/** Pixels between the places where edges into queries, keys and values meet a head. */
const INPUTS = { q: -12, k: 0, v: 12 };
/** Half the height of a node. */
export const HALF = 11;
/** Half the width of a node, and about the width of a letter of its label. */
const [HALF_WIDTH, LETTER] = [24, 7];

/** Lays out the nodes that edges have. Layers without any take no room. */
export function circuitGraph(
  edges: readonly Edge[],
  { heads, width = WIDTH, names = {}, groups = [] }: GraphOptions,
): CircuitGraph {
  const drawn = new Set(edges.flatMap(({ from, to }) => [from, nodeName(to)]));
  const shown = groups.map((group) => ({ ...group, nodes: group.nodes.filter((node) => drawn.has(node)) }));
  const merged = mergeEdges(edges, shown);
  const ends = [...new Set(merged.flatMap(({ from, to }) => [from, to]))].map((name) => endOf(name, shown, names));
  // A group whose members have edges among themselves alone is there too.
  const alone = shown
    .filter(({ nodes }) => nodes.length > 0)
    .map((group) => endOf(`group:${group.name}`, shown, names));
  const all = [...ends, ...alone.filter(({ name }) => !ends.some((end) => end.name === name))];
  const rows = [...new Set(all.map(({ row }) => row))].sort((a, b) => a - b);
  const step = rows.length > MANY_ROWS ? CLOSE_ROW : ROW;
  const height = 2 * MARGIN + Math.max(0, rows.length - 1) * step;
  const wide = Math.max(width, 2 * MARGIN + MLPS + heads * COLUMN);
  const nodes = all.map(({ row, column, ...node }): PlacedNode => {
    const y = height - MARGIN - rows.indexOf(row) * step;
    const x =
      column === undefined
        ? MARGIN + HALF_WIDTH
        : MARGIN + MLPS + ((column + 0.5) * (wide - 2 * MARGIN - MLPS)) / heads;
    // One that stands for itself in its row stands in the middle of the heads.
    const middle = MARGIN + MLPS + (wide - 2 * MARGIN - MLPS) / 2;
    return { ...node, y, x: node.kind === "embed" || node.kind === "logits" ? middle : x };
  });
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const largest = Math.max(1e-12, ...merged.map(({ score }) => Math.abs(score)));
  const placed = merged.map((edge): PlacedEdge => {
    const [from, to] = [byName.get(edge.from)!, byName.get(edge.to)!];
    const name = `${edge.from}-${edge.to}${edge.input === undefined ? "" : `<${edge.input}>`}`;
    return { ...edge, name, from, to, strength: Math.abs(edge.score) / largest, path: curve(from, to, edge.input) };
  });
  return { width: wide, height, nodes, edges: placed };
}

/** An end of a drawn edge before it has a place. */
interface End extends Omit<PlacedNode, "x" | "y"> {
  readonly row: number;
  /** Of heads, counted from the left; undefined for the column of MLPs. */
  readonly column: number | undefined;
}

function endOf(name: string, groups: readonly CircuitGroup[], names: Readonly<Record<string, string>>): End {
  const group = groupCalled(name, groups);
  if (group) {
    const members = group.nodes.map((node) => ({ ...readNode(node)!, label: labelOf(readNode(node)!) }));
    const mean = (value: (node: CircuitNode) => number): number =>
      members.reduce((sum, node) => sum + value(node), 0) / members.length;
    const heads = members.filter(({ kind }) => kind === "head");
    const column = heads.length === 0 ? undefined : heads.reduce((sum, { head }) => sum + head, 0) / heads.length;
    const below = members.map(({ label }) => label).join(" ");
    // A row of its own, so that nothing else stands there.
    const row = mean(rowOf) + 1e-3 * (1 + groups.indexOf(group));
    const common = { name, kind: "group" as const, label: group.name, below, head: undefined, members: group.nodes };
    return { ...common, half: halfOf(group.name), row, column };
  }
  const node = readNode(name)!;
  const own = labelOf(node);
  const label = names[name] ?? own;
  return {
    name,
    kind: node.kind,
    label,
    below: label === own ? "" : own,
    head: headOf(node),
    members: [name],
    half: halfOf(label),
    row: rowOf(node),
    column: node.kind === "mlp" ? undefined : node.head,
  };
}

function halfOf(label: string): number {
  return Math.max(HALF_WIDTH, (LETTER * label.length) / 2 + 6);
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
  return kind === "logits" ? Number.MAX_SAFE_INTEGER : 2 * layer + (kind === "mlp" ? 1 : 0);
}

/** The end of an edge as it is written: "18.6 q". @param name of a circuit's edge */
export function endLabel(name: string): string {
  const node = readNode(name)!;
  return node.input === undefined ? labelOf(node) : `${labelOf(node)} ${node.input}`;
}

/** A node as it is written where it has no name: "18.6", "MLP 3". */
export function labelOf({ kind, layer, head }: CircuitNode): string {
  return kind === "head" ? `${layer}.${head}` : kind === "mlp" ? `MLP ${layer}` : kind;
}

/** Pixels by which an edge between two nodes of one column goes round what stands between them, by row. */
const ROUND = 9;

function curve(from: PlacedNode, to: PlacedNode, input: CircuitNode["input"]): string {
  const up = from.y > to.y;
  const [x0, y0] = [from.x, from.y + (up ? -HALF : HALF)];
  const [x1, y1] = [to.x + (input === undefined ? 0 : INPUTS[input]), to.y + (up ? HALF : -HALF)];
  const bend = (y0 - y1) / 2;
  const rows = Math.abs(from.y - to.y) / CLOSE_ROW;
  const round = Math.abs(x0 - x1) < 16 && rows > 1.5 ? Math.min(56, 20 + ROUND * rows) : 0;
  return `M${x0} ${y0}C${x0 - round} ${y0 - bend} ${x1 - round} ${y1 + bend} ${x1} ${y1}`;
}
