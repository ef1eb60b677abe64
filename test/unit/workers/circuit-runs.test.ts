import { beforeAll, describe, expect, it } from "vitest";
import { edgeSet } from "../../../backend/circuits/edges/circuit-list.ts";
import { runCircuit } from "../../../backend/circuits/edges/run-circuit.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { CircuitRuns } from "../../../backend/workers/circuit-runs.ts";
import { smallConfig } from "../../helpers/models.ts";
import { ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";

ownDataFolder();
beforeAll(() => saveRandomRun("a-1", 0, smallConfig({ n_layers: 2 }), 1));

const PAIRS = [
  { clean: [1, 2, 3, 1], corrupt: [1, 4, 3, 1], answer: 2, wrong: 4 },
  { clean: [5, 6, 7, 5], corrupt: [5, 3, 7, 5], answer: 6, wrong: 3 },
];

describe("the runs of pairs", () => {
  it("are kept, and give every set of edges the metric of a run from scratch", async () => {
    const model = await loadModel("run:a-1");
    const runs = new CircuitRuns();
    const session = await runs.of(model, { pairs: PAIRS });
    const { size } = session.graph;
    const held = tf.memory().numTensors;
    for (const step of [1, 2, 3]) {
      const edges = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step);
      const again = await runs.of(model, { pairs: PAIRS });
      expect(again).toBe(session);
      const [metrics] = await again.run([edgeSet(again.graph, edges)]);
      const circuit = { edges: edges.map((edge) => again.graph.name(edge)) };
      const { metric } = await runCircuit(model, { pairs: PAIRS, circuit });
      expect(metrics!.reduce((sum, each) => sum + each, 0) / PAIRS.length).toBeCloseTo(metric, 5);
    }
    expect(tf.memory().numTensors).toBe(held);
    runs.dispose();
    model.dispose();
  });

  it("make room for those of other pairs, and are made anew for a model that was opened again", async () => {
    const model = await loadModel("run:a-1");
    const runs = new CircuitRuns(1);
    const first = await runs.of(model, { pairs: PAIRS.slice(0, 1) });
    const one = tf.memory().numTensors;
    await runs.of(model, { pairs: PAIRS.slice(1) });
    expect(tf.memory().numTensors).toBe(one);
    expect(first.bytes).toBe(0);
    const reopened = await loadModel("run:a-1");
    expect((await runs.of(reopened, { pairs: PAIRS.slice(1) })).model).toBe(reopened);
    runs.dispose();
    reopened.dispose();
    model.dispose();
  });
});
