import { beforeAll, describe, expect, it } from "vitest";
import { historyText } from "../../../backend/cli/text/history.ts";
import { initBackend } from "../../../backend/runtime/backend.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { type HeadHistory, probeHistory } from "../../../probes/history.ts";
import { probe } from "../../../probes/index.ts";
import { randomModel, smallConfig } from "../../helpers/models.ts";

const CONFIG = smallConfig({ n_layers: 2, attn_only: true });
const PARAMS = { length: 8 };
const STEPS = [0, 3, 8];
/** The model that a run would have saved at a step. */
const load = (step: number) => Promise.resolve(randomModel(CONFIG, step + 1));

beforeAll(() => initBackend());

describe("a probe's history of a run", () => {
  it("is at every saved step what the probe says of that step's model", async () => {
    const context = { seed: 4 };
    const history = await probeHistory("induction", PARAMS, { run: "induction-1", steps: STEPS, load }, context);
    expect(history).toMatchObject({ run: "induction-1", probe: "induction", steps: STEPS, seed: 4 });
    for (const [i, step] of STEPS.entries()) {
      const model = await load(step);
      const alone = await probe(model, "induction", PARAMS, context);
      expect(history.tokens).toBe(alone.tokens);
      for (const [name, { values }] of Object.entries(alone.metrics))
        expect(history.metrics[name]!.values[i], `${name} at ${step}`).toEqual(values);
      for (const [name, value] of Object.entries(alone.summary)) expect(history.summary[name]![i]).toBe(value);
      model.dispose();
    }
  });

  it("reads the user's rows once and leaves no tensor behind", async () => {
    const rows = [[0, 5, 6, 7, 5, 6, 7]];
    let read = 0;
    const inputs = async () => {
      read++;
      return { tokens: rows };
    };
    const saved = { run: "induction-1", steps: STEPS, load, inputs };
    await probeHistory("induction", { length: 3 }, saved);
    const before = tf.memory().numTensors;
    const history = await probeHistory("induction", { length: 3 }, saved);
    expect(tf.memory().numTensors).toBe(before);
    expect(read).toBe(2);
    expect(history.metrics["induction"]!.values.map((table) => [table.length, table[0]!.length])).toEqual([
      [2, 6],
      [2, 6],
      [2, 6],
    ]);
  });

  it("as text has a line a step and the heads that score highest at any step", () => {
    const history = {
      run: "induction-1",
      probe: "induction",
      model: { ref: "run:induction-1@8", layers: 2, heads: 2, kvHeads: 2 },
      steps: STEPS,
      metrics: {
        induction: {
          axis: "heads",
          values: [
            [[0.1, 0.2], [0.05, 0]], // biome-ignore format: a table
            [[0.1, 0.6], [0.1, 0]], // biome-ignore format: a table
            [[0.1, 0.1], [0.9, 0]], // biome-ignore format: a table
          ],
        },
      },
    } as unknown as HeadHistory;
    expect(historyText(history, 2).split("\n")).toEqual([
      "induction of induction-1 at 3 saved steps: the 2 highest of 4 heads",
      "  step    1.0    0.1",
      "     0  0.050  0.200",
      "     3  0.100  0.600",
      "     8  0.900  0.100",
    ]);
  });
});
