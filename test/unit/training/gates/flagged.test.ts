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
const settings = { threshold: 0.5, retention: 0.3, weight: 0.7, prefill: "masked" as const };

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

  // Behind a masked prompt the streams depend on the flags of the layers before, so that flags are found layer by layer.
  it.each(["dense", "masked"] as const)("hides with a %s prefill what the gates let go, by head", async (prefill) => {
    const gates = gatesOf(0);
    const hooks: [string, (scores: Tensor) => Tensor][] = [];
    let gone = 0;
    for (const l of [0, 1]) {
      const name = `blocks.${l}.hook_resid_pre`;
      const { activations, dispose } = forward(model, { tokens: [ids!], logitsAt: "none" }, { names: [name], hooks });
      const [project, out, bias] = gates[l] as [Tensor, Tensor, Tensor];
      const prompt = tf.slice(tf.squeeze(activations.get(name)!, [0]), [0, 0], [PROMPT, 48]);
      const scores = gateScores({ out, bias }, gateProjections({ project }, prompt)).arraySync() as number[][];
      dispose();
      gone += scores.flat().filter((score) => score < 0).length;
      const hidden = tf.buffer([1, 6, LENGTH, LENGTH], "float32");
      for (let h = 0; h < 6; h++)
        for (let k = 0; k < PROMPT; k++)
          for (let q = prefill === "dense" ? PROMPT : k + 1; q < LENGTH; q++)
            if (scores[k]![Math.floor(h / 3)]! < 0) hidden.set(-1e30, 0, h, q, k);
      hooks.push([`blocks.${l}.attn.hook_attn_scores`, (all) => tf.add(all, hidden.toTensor())]);
    }
    expect(gone).toBeGreaterThan(5);
    expect(gone).toBeLessThan(2 * 2 * PROMPT - 5);
    const { resid } = forward(model, { tokens: [ids!], logitsAt: "none" }, { hooks });
    const { end, back } = await lossOf(gates, flaggedAttention({ ...settings, prefill }));
    expect(maxDifference(tf.reshape(end, resid.shape), resid)).toBeLessThan(1e-4);
    tf.dispose([gates, end, back]);
  });

  it("is the softmax over what stays where all attention was on what goes, with a gradient", () => {
    const [T, D] = [4, 8];
    const config = smallConfig({ n_heads: 1, n_key_value_heads: 1, d_head: D, attn_scale: 1 });
    const first = [400, ...new Array<number>(T - 1).fill(0)]; // a sink, far above all others
    const k = tf.tensor4d(first.map((x) => [[x, ...new Array<number>(D - 1).fill(0)]]).flat(2), [1, T, 1, D]);
    const q = tf.tensor4d(Array.from({ length: T }, () => [1, ...new Array<number>(D - 1).fill(0)]).flat(), [
      1,
      T,
      1,
      D,
    ]);
    const v = tf.randomNormal([1, T, 1, D], 0, 1, "float32", 3);
    const stream = tf.tensor([first.map((x) => [x, 1])]); // [1, tokens, 2]
    const [position, valid] = [tf.range(0, T).reshape([T, 1]), tf.ones([T, 1])];
    const inputs = { stream, q, k, v, position, valid, prompt: tf.ones([T]) };
    // A value per token that tells the first from the others, which the flags let go.
    const gates = [tf.zeros([3, 2]), tf.zeros([1, 1]), tf.tensor1d([-1])];
    const attention = flaggedAttention({ threshold: 0.5, retention: 0, weight: 0, prefill: "masked" });
    const z = attention.attend(inputs, gates, config).z;
    // Everything goes: each token sees itself alone, whatever the first one's score.
    expect(maxDifference(tf.reshape(z, v.shape), v)).toBeLessThan(1e-6);
    const back = tf.grad((bias: Tensor) => tf.sum(attention.attend(inputs, [gates[0]!, gates[1]!, bias], config).z));
    expect(Number.isFinite(back(gates[2]!).dataSync()[0])).toBe(true);
    tf.dispose([k, q, v, stream, position, valid, inputs.prompt, gates, z]);
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
