import type { Tensor } from "@tensorflow/tfjs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forward } from "../../../../backend/models/forward/forward.ts";
import { loadModel } from "../../../../backend/models/load.ts";
import type { Model } from "../../../../backend/models/model.ts";
import { initBackend } from "../../../../backend/runtime/backend.ts";
import { tf } from "../../../../backend/runtime/tf.ts";
import { fixture } from "../../../helpers/fixtures.ts";
import { keptLists, type PolicyCase, policyOracle } from "../../../helpers/oracles/policies.ts";

const oracle = policyOracle("llama");
const { layers, heads, kvHeads } = oracle.shape;
const TOLERANCE = 5e-4;
let model: Model;

beforeAll(async () => {
  await initBackend();
  model = await loadModel(fixture("policies/llama"));
});
afterAll(() => model.dispose());

const title = ({ prompt, policy, parameters, question }: PolicyCase) =>
  `${policy} ${Object.entries(parameters)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ")} on the ${prompt} prompt${question ? ", asked afterwards" : ""}`;

/** Logits [positions, d_vocab] from the prompt's last position on, where later queries see only what is kept of the prompt. */
function masked(ids: readonly number[], length: number, kept: number[][][]): number[][] {
  const all = ids.length;
  const hidden = (layer: number): Tensor =>
    tf.tidy(() => {
      const mask = tf.buffer([1, heads, all, all], "float32");
      for (let head = 0; head < heads; head++) {
        const stays = new Set(kept[layer]![Math.floor((head * kvHeads) / heads)]);
        for (let query = length; query < all; query++)
          for (let key = 0; key < length; key++) if (!stays.has(key)) mask.set(-1e30, 0, head, query, key);
      }
      return mask.toTensor();
    });
  const hooks = Array.from({ length: layers }, (_, layer) => {
    const hide = (scores: Tensor): Tensor => tf.tidy(() => tf.add(scores, hidden(layer)));
    return [`blocks.${layer}.attn.hook_attn_scores`, hide] as const;
  });
  const logitsAt = Array.from({ length: all - length + 1 }, (_, i) => length - 1 + i);
  const { logits, dispose } = forward(model, { tokens: [[...ids]], logitsAt }, { hooks });
  const [rows] = (logits!.arraySync() as number[][][]) ?? [];
  dispose();
  return rows!;
}

const best = (logits: readonly number[]): number => logits.indexOf(Math.max(...logits));
const furthest = (found: readonly number[], ids: readonly number[], expected: readonly number[]): number =>
  Math.max(...expected.map((value, i) => Math.abs(value - found[ids[i]!]!)));

describe("the plain forward with masked scores goes on as kvpress does", () => {
  it.each(Object.keys(oracle.prompts))("without a policy (%s)", (name) => {
    const { ids, first, vocabulary, second, tokens } = oracle.prompts[name]!;
    const everything = Array.from({ length: layers }, () => Array.from({ length: kvHeads }, () => [...ids.keys()]));
    const found = masked([...ids, ...tokens.slice(0, -1)], ids.length, everything);
    expect(furthest(found[0]!, first.ids, first.logits)).toBeLessThan(TOLERANCE);
    expect(furthest(found[1]!, vocabulary, second.logits)).toBeLessThan(TOLERANCE);
    expect(found.map(best)).toEqual(tokens);
  });

  const plain = oracle.cases.filter(
    ({ policy, parameters }) => !policy.includes("think") && !parameters.rerotate && parameters.when === undefined,
  );
  it.each(plain.map((each) => ({ name: title(each), each })))("$name", ({ each }) => {
    const { ids, vocabulary } = oracle.prompts[each.prompt]!;
    const { question = 0 } = each;
    const length = ids.length - question;
    const found = masked([...ids, ...each.tokens.slice(0, -1)], length, keptLists(each.kept!, oracle.shape, length));
    const logits = found[question || 1]!; // the first that read the shortened cache
    expect(furthest(logits, vocabulary, each.logits)).toBeLessThan(TOLERANCE);
    const squares = logits.reduce((sum, value) => sum + value * value, 0);
    expect(Math.sqrt(squares / logits.length)).toBeCloseTo(each.rms, 3);
    expect(found.slice(question).map(best)).toEqual(each.tokens);
  });
});
