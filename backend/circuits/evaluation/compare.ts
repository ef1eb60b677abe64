import type { CircuitComparison, CircuitList } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { rankCorrelation } from "../../common/heads/table.ts";
import { checkOptions, type Rules, whole } from "../../common/options.ts";
import { parseCircuit } from "../edges/circuit-list.ts";

/** A way of comparing circuits. */
export interface CompareCircuitsOptions {
  /** The first so many edges of each; default all. */
  edges?: number | undefined;
}

const OPTIONS: Rules<CompareCircuitsOptions> = { edges: whole(1) };

/** A circuit's edges with their scores, where it has any. */
type Scores = ReadonlyMap<string, number | undefined>;

/**
 * Compares two circuits of one model: the edges and the nodes (heads and MLPs) that both have, and whether they rank the edges of
 * both alike.
 * @param labels of the two, such as their files; errors start with them
 * @throws HeadscopeError `input` for what is no circuit or names what it lacks, `mismatch` for circuits of different models
 */
export function compareCircuits(
  first: unknown,
  second: unknown,
  options: CompareCircuitsOptions = {},
  labels: readonly [string, string] = ["the first circuit", "the second circuit"],
): CircuitComparison {
  checkOptions("compareCircuits", options, OPTIONS);
  const [a, b] = [first, second].map((value, i) => parseCircuit(value, labels[i]!));
  const different =
    (a!.total !== undefined && b!.total !== undefined && a!.total !== b!.total) ||
    (a!.model?.digest !== undefined && b!.model?.digest !== undefined && a!.model.digest !== b!.model.digest);
  if (different)
    throw new HeadscopeError("mismatch", `${labels[0]} and ${labels[1]} are circuits of different models`, {
      remedy: "find both in one model",
    });
  const [x, y] = [scoresOf(a!, labels[0], options.edges), scoresOf(b!, labels[1], options.edges)];
  const common = [...x.keys()].filter((edge) => y.has(edge));
  const scored = common.filter((edge) => x.get(edge) !== undefined && y.get(edge) !== undefined);
  return {
    edges: overlap(new Set(x.keys()), new Set(y.keys())),
    nodes: overlap(nodesOf(x), nodesOf(y)),
    rank: {
      edges: scored.length,
      correlation: rankCorrelation(
        scored.map((edge) => x.get(edge)!),
        scored.map((edge) => y.get(edge)!),
      ),
    },
  };
}

/** Scores of a circuit's first edges. */
function scoresOf({ edges }: CircuitList, label: string, count?: number): Scores {
  if (edges) return new Map(edges.slice(0, count).map((edge) => [`${edge.from} ${edge.to}`, scoreOf(edge)]));
  throw new HeadscopeError("input", `${label} names the edges that it lacks, which only a model can complete`, {
    remedy: "list the circuit's edges",
  });
}

function scoreOf(edge: object): number | undefined {
  const { score } = edge as { score?: unknown };
  return typeof score === "number" ? score : undefined;
}

/** Heads and MLPs that edges touch. */
function nodesOf(edges: Scores): Set<string> {
  const names = [...edges.keys()].flatMap((edge) => edge.split(" ").map((name) => name.replace(/<[qkv]>$/, "")));
  return new Set(names.filter((name) => name !== "embed" && name !== "logits"));
}

function overlap(first: ReadonlySet<string>, second: ReadonlySet<string>): CircuitComparison["edges"] {
  const both = [...first].filter((name) => second.has(name)).length;
  const union = first.size + second.size - both;
  return { first: first.size, second: second.size, both, jaccard: union === 0 ? null : both / union };
}

/** Share of two sets' union that both have. */
export function jaccard<T>(first: Iterable<T>, second: Iterable<T>): number {
  const [a, b] = [new Set(first), new Set(second)];
  const both = [...a].filter((each) => b.has(each)).length;
  return both / (a.size + b.size - both);
}
