import type { Circuit } from "../../common/api/circuits.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { METRICS, type MetricName } from "../../common/metrics.ts";
import { ANYTHING, checkOptions, type Rules, real } from "../../common/options.ts";
import type { Model } from "../../models/model.ts";
import { edgeSet, namedEdges, parseScoredCircuit } from "../edges/circuit-list.ts";
import { CircuitSession } from "../edges/session.ts";
import { CIRCUIT_WORK, type CircuitWork } from "../edges/work.ts";

/** A circuit to prune. */
export interface PruneCircuitOptions extends CircuitWork {
  /** The result of `findCircuit`. */
  circuit: unknown;
  /** Faithfulness that it must keep, such as 0.9. */
  faithfulness: number;
  /** Name of the circuit in errors, such as its file. */
  source?: string | undefined;
}

const OPTIONS: Rules<PruneCircuitOptions> = {
  ...CIRCUIT_WORK,
  circuit: ANYTHING,
  faithfulness: real(0, 10),
  source: ANYTHING,
};

/** A pruned circuit: the content of a circuit file, with the budget that it was pruned to. */
export type PrunedCircuit = Circuit & {
  readonly pruned: {
    /** Faithfulness of what is left. */
    readonly faithfulness: number;
    readonly target: number;
    /** Metric that the faithfulness is of. */
    readonly metric: MetricName;
    /** Edges before. */
    readonly from: number;
    /** Circuits that were run. */
    readonly runs: number;
  };
};

/** Blocks of edges that are tried at the end of the pruning, at the least: then they are single edges of small circuits. */
const FINEST = 64;

/**
 * Prunes a circuit to a budget: the fewest of its first edges that are faithful enough, and of these none that can go, the weakest
 * tried first, in blocks that are halved where they are needed.
 * @throws HeadscopeError as `runCircuit`, and (usage) where the whole list is not as faithful
 * @see Conmy et al. 2023, Towards Automated Circuit Discovery, whose greedy removal this follows, in blocks
 */
export async function pruneCircuit(model: Model, options: PruneCircuitOptions): Promise<PrunedCircuit> {
  checkOptions("pruneCircuit", options, OPTIONS, ["pairs", "circuit", "faithfulness"]);
  const { faithfulness: target, source = "the circuit", progress, signal } = options;
  const circuit = parseScoredCircuit(options.circuit, source);
  const metric = options.metric ?? circuit.metric ?? METRICS[0];
  const session = await CircuitSession.open(model, { ...options, metric });
  try {
    const { edges } = namedEdges(model, session.graph, options.circuit, source);
    const pruning = new Pruning(session, target, (runs, most) => progress?.(runs, most, "pruning, circuits run"));
    const first = await pruning.shortest(edges);
    const kept = await pruning.remove(first, () => signal?.throwIfAborted());
    const names = new Set(kept.map((edge) => keyOf(session.graph.name(edge))));
    return {
      ...circuit,
      edges: circuit.edges.filter((edge) => names.has(keyOf(edge))),
      pruned: {
        faithfulness: await pruning.faithfulness(kept),
        target,
        metric,
        from: edges.length,
        runs: pruning.runs,
      },
    };
  } finally {
    session.dispose();
  }
}

function keyOf({ from, to }: { readonly from: string; readonly to: string }): string {
  return `${from} ${to}`;
}

/** A pruning under way. */
class Pruning {
  runs = 0;
  /** Runs that it takes at the most. */
  #most = 0;
  readonly #session: CircuitSession;
  readonly #target: number;
  readonly #onRuns: (runs: number, most: number) => void;
  readonly #clean: number;
  readonly #corrupt: number;

  constructor(session: CircuitSession, target: number, onRuns: (runs: number, most: number) => void) {
    this.#session = session;
    this.#target = target;
    this.#onRuns = onRuns;
    this.#clean = session.whole.reduce((sum, { clean }) => sum + clean, 0);
    this.#corrupt = session.whole.reduce((sum, { corrupt }) => sum + corrupt, 0);
    if (this.#clean === this.#corrupt)
      throw new HeadscopeError("input", "the clean and the corrupt prompts have the same metric", {
        remedy: "give pairs whose prompts call for different answers",
      });
  }

  /** Ratio of the means over the pairs. */
  async faithfulness(edges: readonly number[]): Promise<number> {
    const [metrics] = await this.#session.run([edgeSet(this.#session.graph, edges)]);
    this.#onRuns(++this.runs, Math.max(this.#most, this.runs));
    const sum = metrics!.reduce((total, metric) => total + metric, 0);
    return (sum - this.#corrupt) / (this.#clean - this.#corrupt);
  }

  /** The fewest first edges that are faithful enough, found by doubling and then by halving the gap. */
  async shortest(edges: readonly number[]): Promise<readonly number[]> {
    const enough = async (count: number): Promise<boolean> =>
      (await this.faithfulness(edges.slice(0, count))) >= this.#target;
    this.#most = 2 * Math.ceil(Math.log2(edges.length + 1)) + mostRemovals(edges.length);
    let [low, high] = [0, 1];
    while (high < edges.length && !(await enough(high))) [low, high] = [high, 2 * high];
    if (high >= edges.length) {
      high = edges.length;
      const whole = await this.faithfulness(edges);
      if (whole < this.#target)
        throw new HeadscopeError(
          "usage",
          `all ${edges.length} edges of the circuit have a faithfulness of ${whole.toFixed(3)}, below ${this.#target}`,
          { remedy: "ask for less, or find the circuit with more edges", field: "faithfulness" },
        );
    }
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (await enough(middle)) high = middle;
      else low = middle;
    }
    return edges.slice(0, high);
  }

  /** Takes out what can go, in blocks from the weakest on. */
  async remove(edges: readonly number[], check: () => void): Promise<readonly number[]> {
    this.#most = this.runs + mostRemovals(edges.length) + 1;
    let kept = [...edges];
    for (const block of blockSizes(edges.length)) {
      for (let end = kept.length; end > 0; end -= block) {
        check();
        const start = Math.max(0, end - block);
        const rest = [...kept.slice(0, start), ...kept.slice(end)];
        if ((await this.faithfulness(rest)) >= this.#target) kept = rest;
      }
    }
    return kept;
  }
}

/** Sizes of the blocks of edges that are tried, from a quarter of so many edges down to the finest. */
function blockSizes(edges: number): readonly number[] {
  const finest = Math.max(1, Math.floor(edges / FINEST));
  const sizes = [Math.max(1, Math.ceil(edges / 4))];
  for (let last = sizes[0]!; last > finest; sizes.push(last)) last = Math.max(finest, Math.ceil(last / 2));
  return sizes;
}

/** Runs that the removal from so many edges takes at the most. */
function mostRemovals(edges: number): number {
  return blockSizes(edges).reduce((sum, size) => sum + Math.ceil(edges / size), 0);
}
