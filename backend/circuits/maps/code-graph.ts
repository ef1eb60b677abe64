/** A walk through nodes, such as the codes of a bottleneck: the node before each action, and after the last one. */
export interface NodeWalk {
  /** [actions + 1] */
  readonly nodes: ArrayLike<number>;
  /** [actions] */
  readonly actions: ArrayLike<number>;
}

/** A graph of nodes whose edges are taken by actions. */
export interface ActionGraph {
  readonly nodes: number;
  readonly actions: number;
  /** Nodes behind the edges of each node and action, those that followed more often first [nodes * actions]. */
  readonly successors: readonly (readonly number[])[];
}

/** Transitions that are edges. */
export interface EdgeLimits {
  /** Times that a node must have followed an action at another, default 1. */
  readonly least?: number;
  /** Share of the times of that action there, default 0. */
  readonly share?: number;
  /** Edges of a node and action, the more frequent ones, default all. */
  readonly most?: number;
}

/**
 * The transition graph of walks.
 * @param size numbers of nodes and actions, which are counted from 0
 * @see Dedieu et al. 2024, Learning Cognitive Maps from Transformer Representations: counts of (code, action, next code)
 */
export function codeGraph(
  walks: readonly NodeWalk[],
  { nodes, actions }: Pick<ActionGraph, "nodes" | "actions">,
  { least = 1, share = 0, most = Number.POSITIVE_INFINITY }: EdgeLimits = {},
): ActionGraph {
  const followers = Array.from({ length: nodes * actions }, () => new Map<number, number>());
  for (const walk of walks)
    for (let t = 0; t < walk.actions.length; t++) {
      const own = followers[walk.nodes[t]! * actions + walk.actions[t]!]!;
      const next = walk.nodes[t + 1]!;
      own.set(next, (own.get(next) ?? 0) + 1);
    }
  const successors = followers.map((own) => {
    const total = [...own.values()].reduce((sum, count) => sum + count, 0);
    const kept = byCount(own).filter(([, count]) => count >= least && count >= share * total);
    return kept.slice(0, most).map(([next]) => next);
  });
  return { nodes, actions, successors };
}

/** Entries of counts, the largest first, of equal ones the smaller number. */
function byCount(counts: ReadonlyMap<number, number>): [number, number][] {
  return [...counts].sort(([a, m], [b, n]) => n - m || a - b);
}

/** A graph in which every action leads to one node. @param successors node behind each node and action, -1 for none [nodes * actions] */
export function graphOf(successors: ArrayLike<number>, actions: number): ActionGraph {
  const edges = Array.from(successors, (next) => (next < 0 ? [] : [next]));
  return { nodes: edges.length / actions, actions, successors: edges };
}

/** A shortest path: actions one after the other, the smallest numbers where several are as short; undefined where none leads there. */
export function shortestPath(
  { nodes, actions, successors }: ActionGraph,
  from: number,
  goal: number,
): number[] | undefined {
  const reachedBy = new Int32Array(nodes).fill(-1); // number of the node and action that led to a node first
  const queue = [from];
  for (const node of queue) {
    if (node === goal) return pathTo(goal, from);
    for (let edge = node * actions; edge < (node + 1) * actions; edge++)
      for (const next of successors[edge]!) {
        if (next === from || reachedBy[next] !== -1) continue;
        reachedBy[next] = edge;
        queue.push(next);
      }
  }
  return undefined;

  function pathTo(end: number, start: number): number[] {
    const path: number[] = [];
    for (let node = end; node !== start; node = Math.floor(reachedBy[node]! / actions))
      path.unshift(reachedBy[node]! % actions);
    return path;
  }
}

/** The place at which each node was met most often; -1 for nodes that were never met. @param places as long as the nodes of each walk */
export function placesOf(
  walks: readonly { readonly nodes: ArrayLike<number>; readonly places: ArrayLike<number> }[],
  nodes: number,
): Int32Array {
  const met = Array.from({ length: nodes }, () => new Map<number, number>());
  for (const walk of walks)
    for (let t = 0; t < walk.nodes.length; t++) {
      const own = met[walk.nodes[t]!]!;
      const place = walk.places[t]!;
      own.set(place, (own.get(place) ?? 0) + 1);
    }
  return Int32Array.from(met, (own) => byCount(own)[0]?.[0] ?? -1);
}

/** Agreement of a graph's edges with those of an environment. */
export interface EdgeAgreement {
  /** Share of the graph's edges that lead from the place of their node to the place that the action leads to. */
  readonly precision: number;
  /** Share of the environment's edges that an edge of the graph is. */
  readonly recall: number;
  /** Harmonic mean of the two. */
  readonly f1: number;
}

/**
 * Compares a graph, whose nodes stand for places, with a deterministic environment.
 * @param nodePlaces place of each node [nodes], as `placesOf` gives them
 * @param truth place after every action at every place [places * actions]
 */
export function edgeAgreement(graph: ActionGraph, nodePlaces: Int32Array, truth: Int32Array): EdgeAgreement {
  const found = new Set<number>();
  let [edges, right] = [0, 0];
  graph.successors.forEach((nodes, i) => {
    const edge = nodePlaces[Math.floor(i / graph.actions)]! * graph.actions + (i % graph.actions);
    for (const next of nodes) {
      edges++;
      if (truth[edge] !== nodePlaces[next]) continue;
      right++;
      found.add(edge);
    }
  });
  const precision = edges === 0 ? 0 : right / edges;
  const recall = found.size / truth.length;
  return { precision, recall, f1: right === 0 ? 0 : (2 * precision * recall) / (precision + recall) };
}
