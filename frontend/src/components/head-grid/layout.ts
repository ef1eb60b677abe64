import type { Head } from "../../../../backend/common/heads/head.ts";

/** Shape of a grid of heads, which decides its tracks. */
export interface GridLayout {
  readonly layers: number;
  readonly heads: number;
  /** Query heads that share a KV head; 1 draws no brackets. */
  readonly groups: number;
  /** True if the layers run down the page rather than from left to right. */
  readonly down: boolean;
}

/** Brackets take the first track, numbers the second. */
const FIRST = 3;

/** The `grid-template-columns` and `-rows`: brackets, numbers, then a track a layer, or a head with a gap between groups. */
export function gridTemplates({ layers, heads, groups, down }: GridLayout): { columns: string; rows: string } {
  const grouped = brackets(groups);
  const [columns, lines] = down ? [heads, layers] : [layers, heads];
  const width = `minmax(0, ${columns <= 12 ? "4.5rem" : "3.25rem"})`;
  const line = lines <= 8 ? "1.875rem" : lines <= 20 ? "1.375rem" : "1rem";
  const edge = (axis: string): string => `${grouped && axis === "heads" ? "max-content" : "0"} max-content`;
  const headTracks = (size: string): string => {
    if (!grouped) return `repeat(${heads}, ${size})`;
    return Array.from({ length: heads / groups }, () => `repeat(${groups}, ${size})`).join(" 4px ");
  };
  return down
    ? { columns: `${edge("layers")} ${headTracks(width)}`, rows: `${edge("heads")} repeat(${layers}, ${line})` }
    : { columns: `${edge("heads")} repeat(${layers}, ${width})`, rows: `${edge("layers")} ${headTracks(line)}` };
}

/** The `grid-area` of the cells between two corners. */
export function area(layout: GridLayout, a: Head, b: Head = a): string {
  const layer = span(a.layer, b.layer, (each) => each + FIRST);
  const head = span(a.head, b.head, (each) => headTrack(layout, each));
  const [row, column] = layout.down ? [layer, head] : [head, layer];
  return `${row[0]} / ${column[0]} / ${row[1]} / ${column[1]}`;
}

/** A text along an edge of the grid. */
export interface EdgeText {
  readonly text: string;
  readonly kind: "label" | "group";
  readonly place: string;
}

/** The numbers of layers and heads, and a bracket for each group of query heads. @param prefix of a head's number */
export function spans(layout: GridLayout, prefix: string): EdgeText[] {
  const { layers, heads, groups, down } = layout;
  const place = (line: number, from: number, to: number, alongHeads: boolean): string =>
    alongHeads === down ? `${line} / ${from} / ${line + 1} / ${to + 1}` : `${from} / ${line} / ${to + 1} / ${line + 1}`;
  const layerNumbers = shown(layers).map((layer) => ({
    text: `L${layer}`,
    kind: "label" as const,
    place: place(2, layer + FIRST, layer + FIRST, false),
  }));
  const headNumbers = shown(heads).map((head) => ({
    text: `${prefix}${head}`,
    kind: "label" as const,
    place: place(2, headTrack(layout, head), headTrack(layout, head), true),
  }));
  if (!brackets(groups)) return [...layerNumbers, ...headNumbers];
  const groupTexts = Array.from({ length: heads / groups }, (_, kv) => ({
    text: `KV ${kv}`,
    kind: "group" as const,
    place: place(1, headTrack(layout, kv * groups), headTrack(layout, (kv + 1) * groups - 1), true),
  }));
  return [...layerNumbers, ...headNumbers, ...groupTexts];
}

function brackets(groups: number): boolean {
  return groups > 1;
}

/** The track of a head: after each group comes one that is a gap. */
function headTrack({ groups }: GridLayout, head: number): number {
  return head + FIRST + (brackets(groups) ? Math.floor(head / groups) : 0);
}

function span(a: number, b: number, track: (each: number) => number): [number, number] {
  return [track(Math.min(a, b)), track(Math.max(a, b)) + 1];
}

/** Those of so many that get their number: all of a few, else every second, or every fifth. */
function shown(count: number): number[] {
  const step = count <= 16 ? 1 : count <= 32 ? 2 : 5;
  return Array.from({ length: Math.ceil(count / step) }, (_, i) => i * step);
}
