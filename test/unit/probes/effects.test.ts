import { describe, expect, it } from "vitest";
import { tokensIn } from "../../../backend/circuits/answers.ts";
import type { Intervention } from "../../../backend/hooks/intervention-schema.ts";
import { runWithHooks } from "../../../backend/hooks/run.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../backend/models/load.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { needlePairs } from "../../../probes/effects/needle-pairs.ts";
import { probe } from "../../../probes/index.ts";

const toy = await loadModel("toy-induction");
const params = { length: 64, depths: [0.2, 0.6], needles: 1 };

describe("effects of heads on needle questions, in the hand-written induction model", () => {
  const { pairs } = needlePairs(toy, "needle-ablation", params, {});

  it("are measured on pairs that differ where the needle names its answer", () => {
    for (const { clean, corrupt, answer, wrong } of pairs) {
      const apart = clean.flatMap((id, i) => (id === corrupt[i] ? [] : [i]));
      expect(apart).toHaveLength(1);
      expect([clean[apart[0]!], corrupt[apart[0]!]]).toEqual([tokensIn(answer)[0], tokensIn(wrong)[0]]);
      // The needle's second token stands before its answer, and last of all.
      expect(clean[apart[0]! - 1]).toBe(clean.at(-1));
    }
  });

  it("by ablation are the fall of the logit difference without the head", async () => {
    const { metrics, cost } = await probe(toy, "needle-ablation", params);
    const values = metrics["needle-ablation"]!.values;
    const difference = (interventions: Intervention[]) =>
      pairs.map(({ clean, answer, wrong }) => {
        const logits = runWithHooks(toy, [clean], { interventions })!;
        const last = logits.dataSync().slice(-toy.config.d_vocab);
        logits.dispose();
        return last[tokensIn(answer)[0]!]! - last[tokensIn(wrong)[0]!]!;
      });
    const mean = (all: number[]) => all.reduce((sum, x) => sum + x, 0) / all.length;
    const fall = mean(difference([])) - mean(difference([{ at: "blocks.1.attn.hook_z", heads: [1], do: "zero" }]));
    expect(values[1]![1]).toBeCloseTo(fall, 4);
    expect(cost!.seconds).toBeGreaterThan(0);
    const rest = values.flatMap((row, l) => row.filter((_, h) => ![0, 5].includes(4 * l + h)));
    // The previous-token head and the induction head find the needle together.
    expect(Math.min(values[0]![0]!, values[1]![1]!)).toBeGreaterThan(100 * Math.max(...rest.map(Math.abs)));
  });

  it("by attribution name the induction head", async () => {
    const { metrics } = await probe(toy, "needle-attribution", params);
    const values = metrics["needle-attribution"]!.values;
    expect(Math.max(...values.flat())).toBe(values[1]![1]);
    expect(values[1]![1]).toBeGreaterThan(0.1);
  });
});

describe("attention that an A-shape misses", () => {
  it("is what the pattern has beyond first and recent keys", async () => {
    const tokens = needlePairs(toy, "x", params, {}).pairs.map(({ clean }) => clean);
    const own = { queries: 9, sinks: 3, recent: 5 };
    const { metrics } = await probe(toy, "long-range", own, { tokens });
    const names = [0, 1].map((l) => `blocks.${l}.attn.hook_pattern`);
    const { activations, dispose } = forward(toy, { tokens, logitsAt: "none" }, { names });
    names.forEach((name, layer) => {
      const pattern = activations.get(name)!.arraySync() as number[][][][];
      for (let h = 0; h < 4; h++) {
        let sum = 0;
        for (const row of pattern)
          for (let q = 64 - 9; q < 64; q++)
            for (let k = 3; k <= q - 5; k++) sum += row[h]![q]![k]! / 9 / pattern.length;
        expect(metrics["long-range"]!.values[layer]![h], `${layer}.${h}`).toBeCloseTo(sum, 5);
      }
    });
    dispose();
  });

  it("leaves no tensor behind, nor do the effects", async () => {
    const all = async () => {
      await probe(toy, "needle-ablation", params);
      await probe(toy, "needle-attribution", params);
      await probe(toy, "long-range", { length: 96, samples: 1, recent: 8, queries: 16 });
    };
    await all();
    const before = tf.memory().numTensors;
    await all();
    expect(tf.memory().numTensors).toBe(before);
  });
});
