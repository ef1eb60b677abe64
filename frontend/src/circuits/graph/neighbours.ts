import type { CircuitGraph, PlacedNode } from "./graph.ts";

/** Steps that the arrow keys take. */
const STEPS: Readonly<Record<string, readonly [x: number, y: number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The node that an arrow key goes to: the next of the row, or the nearest of the row above or below; undefined at the edge. */
export function neighbour(
  { nodes }: Pick<CircuitGraph, "nodes">,
  from: PlacedNode,
  key: string,
): PlacedNode | undefined {
  const [dx, dy] = STEPS[key] ?? [0, 0];
  if (dx !== 0) {
    const row = nodes.filter(({ y, x }) => y === from.y && (x - from.x) * dx > 0);
    return nearest(row, ({ x }) => Math.abs(x - from.x));
  }
  if (dy === 0) return undefined;
  const beyond = nodes.filter(({ y }) => (y - from.y) * dy > 0);
  const row = nearest(beyond, ({ y }) => Math.abs(y - from.y))?.y;
  const there = beyond.filter(({ y }) => y === row);
  return nearest(there, ({ x }) => Math.abs(x - from.x));
}

function nearest(nodes: readonly PlacedNode[], distance: (node: PlacedNode) => number): PlacedNode | undefined {
  return nodes.reduce<PlacedNode | undefined>(
    (best, node) => (best === undefined || distance(node) < distance(best) ? node : best),
    undefined,
  );
}
