import { edgeSet, namedEdges } from "../../circuits/edges/circuit-list.ts";
import { faithfulnessOf } from "../../circuits/edges/faithfulness.ts";
import { meanOf } from "../../circuits/means.ts";
import { pairDoubts } from "../../circuits/pairs.ts";
import { type CircuitRunAnswer, circuitRunRequest } from "../../common/api/circuits.ts";
import { UNBOUNDED } from "../../common/api/fields.ts";
import { METRICS } from "../../common/metrics.ts";
import { handler } from "../handler.ts";
import { pacingOf, session } from "../session.ts";

/** Runs some edges alone, on pairs whose whole runs are kept for the next set of edges. */
export const request = handler({
  payload: circuitRunRequest(UNBOUNDED),
  async run({ model: ref, pairs, bos, metric: name = METRICS[0], edges }, context): Promise<CircuitRunAnswer> {
    const began = performance.now();
    const model = await session.models.open(ref, context.signal);
    const { signal, turn } = pacingOf(context);
    const work = { pairs, metric: name, ...(bos === undefined ? {} : { prependBos: bos }), signal, turn };
    const runs = await session.circuits.of(model, work);
    const named = namedEdges(model, runs.graph, { edges }, "the circuit");
    const [metrics] = await runs.run([edgeSet(runs.graph, named.edges)], { signal, turn });
    const byPair = runs.whole.map((pair, p) => ({ ...pair, metrics: [metrics![p]!] }));
    const mean = meanOf(byPair);
    const { clean, corrupt } = mean;
    const metric = mean.metrics[0]!;
    const notes = pairDoubts(runs.differences);
    return {
      clean,
      corrupt,
      metric,
      faithfulness: faithfulnessOf(metric, { clean, corrupt }),
      edges: edges.length,
      total: runs.graph.size,
      ...(notes.length > 0 ? { notes } : {}),
      ms: performance.now() - began,
    };
  },
});
