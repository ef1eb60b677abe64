import { createHash } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import type { ModelInfo } from "../../../backend/common/api/models.ts";
import type { Prompt } from "../../../backend/common/api/prompts.ts";
import type { TextScoresAnswer } from "../../../backend/common/api/text-scores.ts";
import { runWithCache } from "../../../backend/hooks/run.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { hookNames } from "../../../backend/models/transformer/hook-points.ts";
import { parameter } from "../../../backend/models/weights/parameters.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import type { Reply } from "../../../backend/workers/handler.ts";
import { session } from "../../../backend/workers/session.ts";
import { textScores } from "../../../probes/text-scores.ts";
import { refused } from "../../helpers/errors.ts";
import { randomTokens, smallConfig } from "../../helpers/models.ts";
import { apart, handled, ownDataFolder, saveRandomRun, tensorOf } from "../../helpers/processes/workers.ts";

const MODEL = "run:grouped-1@0";
const CONFIG = smallConfig();
const ids = randomTokens(1, 21, CONFIG.d_vocab)[0]!;
let model: Model;

ownDataFolder();
beforeAll(async () => {
  await saveRandomRun("grouped-1", 0, CONFIG);
  model = await loadModel(MODEL);
});

/** A whole activation of an ordinary run. */
function whole(hook: string): { shape: number[]; values: Float32Array } {
  const { cache, logits } = runWithCache(model, ids, { names: [hook] });
  logits!.dispose();
  const t = cache.get(hook);
  const found = { shape: t.shape.slice(1), values: t.dataSync() as Float32Array };
  cache.dispose();
  return found;
}

describe("a prompt", () => {
  it("is named by weights and ids, and has the losses and next tokens that the logits give", async () => {
    const { value } = await handled<Prompt>("prompt", { model: MODEL, tokens: ids });
    const hash = createHash("sha256")
      .update(`${model.digest} ${ids.join(",")}`)
      .digest("hex");
    expect(value).toMatchObject({ id: `p${hash.slice(0, 24)}`, model: MODEL, digest: model.digest, ids });
    expect(value.tokens).toEqual(ids.map(String));
    const { logits, cache } = runWithCache(model, ids, { names: [] });
    cache.dispose();
    const rows = (logits!.arraySync() as number[][][])[0]!.map((row) => {
      const total = row.reduce((sum, x) => sum + Math.exp(x), 0);
      return row.map((x) => Math.exp(x) / total);
    });
    logits!.dispose();
    const nll = ids.slice(1).map((id, t) => -Math.log(rows[t]![id]!));
    expect(apart(value.nll, nll)).toBeLessThan(1e-4);
    expect(value.loss).toBeCloseTo(nll.reduce((a, b) => a + b) / nll.length, 4);
    const best = rows.at(-1)!.map((p, id) => ({ p, id }));
    best.sort((a, b) => b.p - a.p);
    expect(value.next.map(({ id }) => id)).toEqual(best.slice(0, 10).map(({ id }) => id));
    expect(apart(value.next.map(({ probability }) => probability), best.slice(0, 10).map(({ p }) => p))).toBeLessThan(1e-5); // biome-ignore format: a line
  });

  it("of one token has no loss", async () => {
    const { value } = await handled<Prompt>("prompt", { model: MODEL, tokens: [5] });
    expect(value).toMatchObject({ nll: [], loss: null });
  });

  it.each([
    [{ tokens: [] }, /the prompt has 0 tokens/],
    [{ tokens: [1, 96] }, /the prompt, position 1: id 96 is outside the vocabulary; ids are 0 to 95/],
    [{ tokens: new Array(1201).fill(1) }, /the prompt has 1201 tokens, more than the model's context of 1200/],
    [{ text: "words" }, /has no tokenizer, so it takes no text; give token ids/],
  ])("%j is refused", async (input, line) => {
    const refused = handled("prompt", { model: MODEL, ...input });
    await expect(refused).rejects.toMatchObject({ line: expect.stringMatching(line) });
  });

  it("says what its model is", async () => {
    const { value } = await handled<{ info: ModelInfo; backend: object }>("describe", { model: "run:grouped-1" });
    expect(value.info).toMatchObject({
      ref: MODEL,
      layers: 3,
      heads: 6,
      kvHeads: 2,
      digest: model.digest,
      family: "toy",
    });
    expect(value.info.tokenizer).toBeUndefined();
    expect(value.backend).toMatchObject({ name: expect.any(String), threads: expect.any(Number) });
  });
});

describe("one layer from the stored residual stream", () => {
  it("shows at every hook point what a whole run shows", async () => {
    for (const hook of hookNames(CONFIG)) {
      const { value } = await handled<Reply>("activations", { model: MODEL, ids, hook, slice: {} });
      const found = tensorOf(value);
      const expected = whole(hook);
      expect(found).toMatchObject({ name: hook, dtype: "F32", shape: expected.shape });
      expect(apart(found.values, expected.values), hook).toBeLessThan(1e-5);
    }
  });

  it("gives a layer's pattern, or the heads, queries and keys that are asked for", async () => {
    const pattern = (slice: object) => handled<Reply>("patterns", { model: MODEL, ids, layer: 2, slice });
    const all = tensorOf((await pattern({})).value);
    const expected = whole("blocks.2.attn.hook_pattern");
    expect(all.shape).toEqual([6, 21, 21]);
    expect(apart(all.values, expected.values)).toBeLessThan(1e-6);
    const part = (await pattern({ heads: "4,1", queries: "3:9", keys: "2:" })).value;
    expect(part.value).toEqual({ shape: [2, 6, 19], digest: model.digest });
    const wanted = [4, 1].flatMap((h) =>
      [3, 4, 5, 6, 7, 8].flatMap((q) => all.values.slice((h * 21 + q) * 21 + 2, (h * 21 + q) * 21 + 21)),
    );
    expect(apart(tensorOf(part).values, wanted)).toBe(0);
  });

  it("gives 16-bit numbers within half a unit of their last place", async () => {
    const pattern = (slice: object) => handled<Reply>("patterns", { model: MODEL, ids, layer: 1, slice });
    const [wide, narrow] = [tensorOf((await pattern({})).value), tensorOf((await pattern({ dtype: "f16" })).value)];
    expect(narrow.dtype).toBe("F16");
    narrow.values.forEach((value, i) => {
      const exact = wide.values[i]!;
      const unit = 2 ** (Math.max(-14, Math.floor(Math.log2(Math.max(exact, 2 ** -14)))) - 10);
      expect(Math.abs(value - exact)).toBeLessThanOrEqual(unit / 2);
    });
  });

  it("weights each key by the norm of what its value writes, with the KV head of each query head", async () => {
    const slice = { weighted: "value", heads: "0,2,3,5" };
    const { value } = await handled<Reply>("patterns", { model: MODEL, ids, layer: 1, slice });
    const pattern = whole("blocks.1.attn.hook_pattern").values;
    const v = whole("blocks.1.attn.hook_v").values; // [position, 2, 8]
    const output = parameter(model, "blocks.1.attn.W_O"); // [6, 8, 48]
    const W = output.arraySync() as number[][][];
    output.dispose();
    const norm = (h: number, k: number): number => {
      const group = Math.floor(h / 3);
      const written = Array.from({ length: 48 }, (_, m) =>
        W[h]!.reduce((sum, row, d) => sum + v[(k * 2 + group) * 8 + d]! * row[m]!, 0),
      );
      return Math.hypot(...written);
    };
    const expected = [0, 2, 3, 5].flatMap((h) =>
      ids.flatMap((_, q) => ids.map((_, k) => pattern[(h * 21 + q) * 21 + k]! * norm(h, k))),
    );
    expect(apart(tensorOf(value).values, expected)).toBeLessThan(2e-4);
  });

  it.each([
    [{ heads: "6" }, /there is no head "6" here; give heads from 0 to 5/],
    [{ heads: "a" }, /there is no head "a"/],
    [
      { queries: "5:22" },
      /queries "5:22" is no range of its 21; give START:END, either may be left out, with 0 <= START < END <= 21/,
    ],
    [{ keys: "7:7" }, /keys "7:7" is no range/],
  ])("refuses a part outside it: %j", async (slice, line) => {
    const refused = handled("patterns", { model: MODEL, ids, layer: 0, slice });
    await expect(refused).rejects.toMatchObject({ kind: "usage", line: expect.stringMatching(line) });
  });

  it("refuses heads of streams, keys of what has none, and layers and hooks that there are not", async () => {
    const hook = (name: string, slice: object) => handled("activations", { model: MODEL, ids, hook: name, slice });
    await expect(hook("blocks.0.hook_mlp_out", { heads: "0" })).rejects.toThrow(refused("usage"));
    await expect(hook("blocks.0.attn.hook_z", { keys: "0:1" })).rejects.toThrow(refused("usage"));
    await expect(hook("blocks.0.attn.hook_zz", {})).rejects.toMatchObject({
      kind: "usage",
      subject: "blocks.0.attn.hook_zz",
    });
    await expect(handled("patterns", { model: MODEL, ids, layer: 3, slice: {} })).rejects.toThrow(refused("usage"));
  });

  it("leaves no tensor behind once the prompt is stored", async () => {
    const ask = async () => {
      await handled("prompt", { model: MODEL, tokens: ids });
      await handled("patterns", { model: MODEL, ids, layer: 1, slice: { weighted: "value", heads: "1" } });
      await handled("activations", { model: MODEL, ids, hook: "ln_final.hook_scale", slice: {} });
      await handled("patterns", { model: MODEL, ids, layer: 1, slice: { heads: "9" } }).catch(() => {});
    };
    await ask();
    const before = tf.memory().numTensors;
    await ask();
    expect(tf.memory().numTensors).toBe(before);
    expect(session.models.refs).toEqual([MODEL]);
  });
});

describe("the scores of every head on a prompt", () => {
  it("come from its stored streams, and are those of the library", async () => {
    const options = { held: 3, question: { position: 9, wrong: 2 } };
    const { value } = await handled<TextScoresAnswer>("text-scores", { model: MODEL, ids, ...options });
    const expected = await textScores(model, ids, options);
    expect(value.scores.map(({ name, absent }) => [name, absent])).toEqual(
      expected.map(({ name, absent }) => [name, absent]),
    );
    for (const [i, { values }] of expected.entries())
      values?.flat().forEach((each, head) => {
        expect(value.scores[i]!.values!.flat()[head]).toBeCloseTo(each, 5);
      });
  });

  it("refuse what does not fit the prompt", async () => {
    const asked = { model: MODEL, ids, held: ids.length };
    await expect(handled("text-scores", asked)).rejects.toThrow(refused("input"));
  });
});
