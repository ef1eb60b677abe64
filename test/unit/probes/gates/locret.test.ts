import { describe, expect, it } from "vitest";
import { foretoldLogits } from "../../../../backend/heads/retaining-head.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { locretHeads } from "../../../../probes/gates/locret.ts";
import { passkeyOf } from "../../../../probes/gates/passkey-parameters.ts";
import { trainGates } from "../../../../probes/gates/train.ts";
import { randomModel, smallConfig } from "../../../helpers/models.ts";
import { relativeError } from "../../../helpers/oracles/differences.ts";

await initBackend();
const model = randomModel(smallConfig({ n_layers: 2 }));
const given = {
  ...{ num_steps: 4, hidden: 3, num_passkeys: 2, passkey_length: 4, grad_clip: 1e6 },
  ...{ context_length_min: 48, context_length_max: 48, context_lengths_num_intervals: 1 },
};
const params = locretHeads.parameters.parse(given);
const turn = async () => {};

/** The losses and gradients of some heads [layers][fc1, fc2]. */
const lesson = (gates: ReturnType<typeof tf.tensor>[][]) =>
  locretHeads.gradients({ model, params, gates, step: 0, seed: 5, turn });

/** Random heads. */
function headsOf(seed: number): ReturnType<typeof tf.tensor>[][] {
  const parts = locretHeads.parts(model.config, params);
  return [0, 1].map((l) =>
    parts.map(({ shape }, i) => tf.randomNormal([...shape], 0, 0.2, "float32", seed + 2 * l + i)),
  );
}

describe("Locret's retaining heads", () => {
  it("learn from the largest logit that each key receives from the questions' tokens, by a smooth L1 loss", async () => {
    const gates = headsOf(3);
    const { losses, gradients } = await lesson(gates);
    const { ids, recall } = passkeyOf(model, params, { seed: 5, step: 0 });
    const names = ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_rot_q", "attn.hook_rot_k"];
    const looks = names.flatMap((name) => [0, 1].map((l) => `blocks.${l}.${name}`));
    const { activations, dispose } = forward(model, { tokens: [ids], logitsAt: "none" }, { names: looks });
    const at = (l: number, name: string) => activations.get(`blocks.${l}.${name}`)!.arraySync() as number[][][][];
    let [near, smooth, count] = [0, 0, 0];
    for (const l of [0, 1]) {
      const [q, k, v, rq, rk] = names.map((name) => at(l, name)[0]!);
      const [fc1, fc2] = gates[l]!.map((t) => t.arraySync() as number[][]);
      const foretold = Array.from({ length: recall }, (_, t) => {
        const x = [...q![t]!, ...k![t]!, ...v![t]!].flat();
        const hidden = fc1!
          .map((row) => row.reduce((sum, w, i) => sum + w * x[i]!, 0))
          .map((h) => h / (1 + Math.exp(-h)));
        return fc2!.map((row) => row.reduce((sum, w, i) => sum + w * hidden[i]!, 0));
      });
      for (let g = 0; g < 2; g++)
        for (let t = 0; t < recall; t++) {
          let most = -Infinity;
          for (let late = recall; late < ids.length; late++)
            for (let h = 3 * g; h < 3 * g + 3; h++)
              most = Math.max(
                most,
                model.config.attn_scale * rq![late]![h]!.reduce((sum, x, i) => sum + x * rk![t]![g]![i]!, 0),
              );
          const off = Math.abs(foretold[t]![g]! - most);
          near += off < 1 ? off ** 2 / 2 : off - 0.5;
          count++;
          if (t > 0) smooth += (foretold[t]![g]! - foretold[t - 1]![g]!) ** 2 / (2 * (recall - 1));
        }
    }
    expect(losses["logits"]).toBeCloseTo(near / count, 4);
    expect(losses["steps"]).toBeCloseTo(smooth, 4);
    dispose();
    tf.dispose([gates, gradients as typeof gates]);
  });

  it("have the gradient that differences of the loss have", async () => {
    const gates = headsOf(9);
    const { gradients } = await lesson(gates);
    const lossOf = async (gates: ReturnType<typeof tf.tensor>[][]) => {
      const { losses, gradients } = await lesson(gates);
      tf.dispose(gradients as typeof gates);
      return losses["logits"]! + params.smooth_weight * losses["steps"]!;
    };
    for (const [layer, part] of [
      [0, 0],
      [1, 1],
    ] as const) {
      const direction = gradients[layer]![part]!;
      const moved = (by: number) =>
        gates.map((row, l) =>
          row.map((t, p) => (l === layer && p === part ? tf.add(t, tf.mul(direction, by)) : tf.clone(t))),
        );
      const size = tf.sum(tf.square(direction)).dataSync()[0]!;
      const step = 0.02 / Math.sqrt(size);
      const [ahead, behind] = [moved(step), moved(-step)];
      const slope = ((await lossOf(ahead)) - (await lossOf(behind))) / (2 * step);
      expect(relativeError(size, slope), `${layer}.${part}`).toBeLessThan(2e-3);
      tf.dispose([ahead, behind]);
    }
    tf.dispose([gates, gradients as typeof gates]);
  });

  it("foretell better the longer they are trained", async () => {
    const { about } = await trainGates(model, "locret", { ...given, num_steps: 60, lr: 0.02, hidden: 16 });
    const mean = (losses: readonly Record<string, number>[]) =>
      losses.reduce((sum, { logits }) => sum + logits!, 0) / losses.length;
    expect(mean(about.curve.slice(-10))).toBeLessThan(0.8 * mean(about.curve.slice(0, 10)));
  });

  it("leave no tensor behind", async () => {
    await trainGates(model, "locret", given);
    const before = tf.memory().numTensors;
    await trainGates(model, "locret", given);
    expect(tf.memory().numTensors).toBe(before);
  });

  it("are two maps with SiLU between", () => {
    const value = tf.tidy(() => {
      const token = (x: number[]) => tf.tensor3d([[x]]);
      const head = { fc1: tf.tensor2d([[1, 0, 2], [0, -1, 0]]), fc2: tf.tensor2d([[3, 5]]) }; // biome-ignore format: matrices
      return foretoldLogits(head, { q: token([1]), k: token([2]), v: token([0.5]) }).dataSync()[0]!;
    });
    const silu = (x: number) => x / (1 + Math.exp(-x));
    expect(value).toBeCloseTo(3 * silu(2) + 5 * silu(-2), 5);
  });
});
