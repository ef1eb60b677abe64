import { beforeAll, describe, expect, it } from "vitest";
import { rowProbe } from "../../../../backend/circuits/vectors/row-probe.ts";
import { Random } from "../../../../backend/common/random.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { modelOfParameters } from "../../../../backend/models/sources/run-checkpoint.ts";
import { initialParameters, parameterLayout } from "../../../../backend/models/weights/trainable.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { smallConfig } from "../../../helpers/models.ts";

const ROWS = 120;
const POSITIONS = 5;
const WIDTH = 6;

/** A model that reads vectors. */
let model: Model;
beforeAll(async () => {
  await initBackend();
  const config = smallConfig({ d_input: WIDTH, d_vocab: 1, tie_word_embeddings: false });
  model = modelOfParameters("reader", config, initialParameters(parameterLayout(config), 1));
});

const random = new Random(4);
const inputs = Float32Array.from({ length: ROWS * POSITIONS * WIDTH }, () => random.normal());
const rows = { rows: ROWS, positions: POSITIONS, inputs };
const at = (row: number, position: number) => {
  const from = (row * POSITIONS + position) * WIDTH;
  return inputs.subarray(from, from + WIDTH);
};
const each = Array.from({ length: ROWS }, (_, row) => row);

describe("probes of rows", () => {
  it("read what went in at their position from the embedding, and not what went in before it", async () => {
    const own = { kind: "values", rows: each.map((row) => [...at(row, 3).subarray(0, 2)]) } as const;
    const earlier = { kind: "values", rows: each.map((row) => [...at(row, 2).subarray(0, 2)]) } as const;
    const asked = { rows, places: each.map(() => 3), at: "hook_resid_pre", layers: [0], l2: 1e-3 } as const;
    await rowProbe(model, { ...asked, targets: own });
    const before = tf.memory().numTensors;
    const found = await rowProbe(model, { ...asked, targets: own, controls: 4 });
    expect(tf.memory().numTensors).toBe(before);
    expect(found).toMatchObject({ metric: "r2", train: 84, test: 36, chance: 0 });
    const [layer] = found.layers;
    expect(layer!.score).toBeGreaterThan(0.99);
    expect(layer!.control).toBeLessThan(0.1);
    expect(layer!.selectivity).toBeCloseTo(layer!.score - layer!.control!, 12);
    expect((await rowProbe(model, { ...asked, targets: earlier })).layers[0]!.score).toBeLessThan(0.1);
  });

  it("read a place of its own in each row, and the mean over all", async () => {
    const places = each.map((row) => row % POSITIONS);
    const there = { kind: "values", rows: each.map((row) => [...at(row, places[row]!)]) } as const;
    const asked = { rows, at: "hook_resid_pre", layers: [0], l2: 1e-3, controls: 0 } as const;
    const [layer] = (await rowProbe(model, { ...asked, places, targets: there })).layers;
    expect(layer!.score).toBeGreaterThan(0.99);
    expect(layer).not.toHaveProperty("control");
    const sums = each.map((row) => [places.reduce((sum, _, i) => sum + (i < POSITIONS ? at(row, i)[0]! : 0), 0)]);
    const mean = await rowProbe(model, { ...asked, places: "mean", targets: { kind: "values", rows: sums } });
    expect(mean.layers[0]!.score).toBeGreaterThan(0.99);
  });

  it("have intervals about their scores: of R² by resampling, of accuracy Wilson's", async () => {
    const noisy = each.map((row) => [at(row, 3)[0]! + random.normal()]);
    const asked = { rows, places: each.map(() => 3), at: "hook_resid_pre", layers: [0] } as const;
    const [values] = (await rowProbe(model, { ...asked, targets: { kind: "values", rows: noisy } })).layers;
    expect(values!.interval[0]).toBeLessThan(values!.score);
    expect(values!.interval[1]).toBeGreaterThan(values!.score);
    // Half of the variance can be read: 36 rows tell that to about 0.13.
    expect(values!.interval[1] - values!.interval[0]).toBeGreaterThan(0.2);
    expect(values!.interval[1] - values!.interval[0]).toBeLessThan(1.2);
    const labels = each.map((row) => (at(row, 3)[0]! > 0 ? 1 : 0));
    const classes = await rowProbe(model, { ...asked, targets: { kind: "classes", labels }, method: "logistic" });
    expect(classes.metric).toBe("accuracy");
    expect(classes.layers[0]!.score).toBeGreaterThan(0.85);
    expect(classes.chance).toBeLessThan(0.8);
  });

  const targets = { kind: "values", rows: each.map(() => [1]) } as const;
  it.each([
    ["logistic probes of values", { method: "logistic" }, "method"],
    ["three rows", { rows: { ...rows, rows: 3, inputs: inputs.subarray(0, 3 * POSITIONS * WIDTH) } }, "rows"],
    ["all held out", { test: 1 }, "test"],
  ])("refuse %s", async (_, change, field) => {
    const asked = { rows, places: each.map(() => 3), targets, ...(change as object) };
    await expect(rowProbe(model, asked)).rejects.toMatchObject({ kind: "usage", field });
  });
});
