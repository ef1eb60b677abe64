import type { Tensor } from "@tensorflow/tfjs";
import { describe, expect, it } from "vitest";
import { gateProjections, gateScores } from "../../../../backend/heads/attention-gate.ts";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { flaggedAttention } from "../../../../backend/training/gates/flagged.ts";
import { GatedRun } from "../../../../backend/training/gates/gated-run.ts";
import { languageLoss } from "../../../../backend/training/gates/language-loss.ts";
import { maxDifference, randomModel, randomTokens, smallConfig } from "../../../helpers/models.ts";
import { relativeError } from "../../../helpers/oracles/differences.ts";

await initBackend();

const model = randomModel(smallConfig({ n_layers: 2 }));
const LENGTH = 24;
const PROMPT = 16;
const [ids] = randomTokens(1, LENGTH, 96, 5);
const places = [17, 20, 23];
const settings = { threshold: 0.5, retention: 0.3, weight: 0.7 };

const gatesOf = (bias: number): Tensor[][] =>
  [0, 1].map((l) => [
    tf.randomNormal([9, 48], 0, 0.5, "float32", 3 + l),
    tf.randomNormal([2, 3], 0, 1, "float32", 7 + l),
    tf.fill([2], bias),
  ]);

async function lossOf(gates: Tensor[][], attention = flaggedAttention(settings)) {
  const start = "blocks.0.hook_resid_pre";
  const { activations, dispose } = forward(model, { tokens: [ids!], logitsAt: "none" }, { names: [start] });
  const before = tf.reshape(activations.get(start)!, [LENGTH, 48]);
  const prompt = tf.tensor1d(Array.from({ length: LENGTH }, (_, t) => (t < PROMPT ? 1 : 0)));
  const run = new GatedRun({ model, attention, gates, rows: 1, positions: LENGTH, prompt });
  await run.forward(before);
  const { loss, gradient } = languageLoss(model, { stream: run.end, ids: ids!, places });
  const back = await run.backward(gradient);
  const result = { loss, penalty: run.penalty, end: tf.clone(run.end), back };
  dispose();
  run.dispose();
  tf.dispose([before, prompt, gradient]);
  return result;
}

describe("attention over what gates let stay", () => {
  it("is the model's own where all stays, with its cross-entropy", async () => {
    const gates = gatesOf(20);
    const { loss, penalty, end, back } = await lossOf(gates);
    const { resid, logits } = forward(model, { tokens: [ids!] });
    expect(maxDifference(tf.reshape(end, resid.shape), resid)).toBeLessThan(1e-4);
    const rows = tf.logSoftmax(logits!).arraySync() as number[][][];
    const entropy = places.reduce((sum, place) => sum - rows[0]![place - 1]![ids![place]!]!, 0) / places.length;
    expect(loss).toBeCloseTo(entropy, 4);
    expect(penalty).toBeCloseTo(2 * 0.7 * 0.7, 4);
    tf.dispose([gates, end, back]);
  });

  it("hides from what stands behind the prompt what the gates let go, by head", async () => {
    const gates = gatesOf(0);
    // The stream of the prompt does not change, so that each layer's flags follow from the plain run's.
    const streams = [0, 1].map((l) => `blocks.${l}.hook_resid_pre`);
    const { activations } = forward(model, { tokens: [ids!], logitsAt: "none" }, { names: streams });
    const flags = streams.map((name, l) => {
      const [project, out, bias] = gates[l] as [Tensor, Tensor, Tensor];
      const prompt = tf.slice(tf.squeeze(activations.get(name)!, [0]), [0, 0], [PROMPT, 48]);
      return gateScores({ out, bias }, gateProjections({ project }, prompt)).arraySync() as number[][];
    });
    const gone = flags.flat(2).filter((score) => score < 0).length;
    expect(gone).toBeGreaterThan(5);
    expect(gone).toBeLessThan(2 * 2 * PROMPT - 5);
    const hide = (l: number) => (scores: Tensor) => {
      const hidden = tf.buffer([1, 6, LENGTH, LENGTH], "float32");
      for (let h = 0; h < 6; h++)
        for (let q = PROMPT; q < LENGTH; q++)
          for (let k = 0; k < PROMPT; k++) if (flags[l]![k]![Math.floor(h / 3)]! < 0) hidden.set(-1e30, 0, h, q, k);
      return tf.add(scores, hidden.toTensor());
    };
    const hooks = [0, 1].map((l) => [`blocks.${l}.attn.hook_attn_scores`, hide(l)] as const);
    const { resid } = forward(model, { tokens: [ids!], logitsAt: "none" }, { hooks });
    const { end, back } = await lossOf(gates);
    expect(maxDifference(tf.reshape(end, resid.shape), resid)).toBeLessThan(1e-4);
    tf.dispose([gates, end, back]);
  });

  it("has the penalty's gradient that differences have, where the loss does not change with the gates", async () => {
    const gates = gatesOf(3); // far above the threshold: no flag turns
    const { back, end } = await lossOf(gates);
    const plain = flaggedAttention({ ...settings, weight: 0 });
    const without = await lossOf(gates, plain);
    const own = back[1]!.map((g, i) => tf.sub(g, without.back[1]![i]!)); // the penalty's part
    for (const part of own) expect(tf.max(tf.abs(part)).dataSync()[0]).toBeGreaterThan(0);
    const bias = own[2]!.dataSync();
    const moved = async (by: number) => {
      const other = gates.map((row, l) => row.map((t, i) => (l === 1 && i === 2 ? tf.add(t, [by, 0]) : tf.clone(t))));
      const { penalty, end, back } = await lossOf(other);
      tf.dispose([other, end, back]);
      return penalty;
    };
    const slope = ((await moved(0.05)) - (await moved(-0.05))) / 0.1;
    expect(relativeError(bias[0]!, slope)).toBeLessThan(2e-3);
    tf.dispose([gates, end, back, without.end, without.back, own]);
  });
});
