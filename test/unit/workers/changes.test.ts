import type { Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { ablate } from "../../../backend/circuits/ablation/ablate.ts";
import { patch } from "../../../backend/circuits/patching/patch.ts";
import { patchPaths } from "../../../backend/circuits/patching/path.ts";
import type { AblateResult, InterveneResult } from "../../../backend/common/api/interventions.ts";
import type { PairAlignment, PatchResponse } from "../../../backend/common/api/patching.ts";
import { randomReference } from "../../../backend/hooks/reference.ts";
import { runWithHooks } from "../../../backend/hooks/run.ts";
import { loadModel } from "../../../backend/models/load.ts";
import type { Model } from "../../../backend/models/model.ts";
import { functions } from "../../../backend/runtime/capture.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { prepare } from "../../../backend/workers/session.ts";
import { refused } from "../../helpers/errors.ts";
import { randomTokens, smallConfig } from "../../helpers/models.ts";
import { apart, handled, ownDataFolder, saveRandomRun } from "../../helpers/processes/workers.ts";

const MODEL = "run:grouped-1@0";
const CONFIG = smallConfig();
const [ids, other] = randomTokens(2, 17, CONFIG.d_vocab) as [number[], number[]];
let model: Model;

ownDataFolder();
beforeAll(async () => {
  await saveRandomRun("grouped-1", 0, CONFIG);
  model = await loadModel(MODEL);
});

/** Heads as the library takes them. */
const asRefs = (heads: readonly string[]) =>
  heads.map((head) => {
    const [layer, index] = head.split(".").map(Number) as [number, number];
    return { layer, head: index };
  });

describe("an ablation of one prompt", () => {
  it.each([[["1.2"]], [["0.0", "2.5"]], [["2.1", "2.3"]]])("of %j from the stored streams is the ablation from the tokens", async (heads) => {
    const { value } = await handled<AblateResult>("ablate", { model: MODEL, rows: [ids], heads, controls: 3, seed: 5 });
    const direct = await ablate(model, { tokens: [ids], heads: asRefs(heads), method: "zero", controls: 3, seed: 5 });
    expect(value).toMatchObject({ heads, method: "zero", model: { ref: MODEL, digest: model.digest } });
    expect(apart(value.clean.nll[0]!, direct.clean.nll[0]!)).toBeLessThan(1e-5);
    expect(apart(value.ablated.nll[0]!, direct.ablated.nll[0]!)).toBeLessThan(1e-5);
    expect(value.control!.draws.map((draw) => asRefs(draw.heads))).toEqual(direct.control!.draws.map((draw) => draw.heads));
    value.control!.draws.forEach((draw, i) => {
      expect(apart(draw.nll[0]!, direct.control!.draws[i]!.nll[0]!)).toBeLessThan(1e-5);
    });
    expect(value.nextToken[0]!.map(({ id }) => id)).toEqual(direct.nextToken[0]!.map(({ id }) => id));
    const both = (tokens: AblateResult["nextToken"][number]) => tokens.flatMap(({ clean, ablated }) => [clean, ablated]);
    expect(apart(both(value.nextToken[0]!), both(direct.nextToken[0]!))).toBeLessThan(1e-6);
  }); // biome-ignore format: long lines

  it("by mean draws from random rows of its length, and says so", async () => {
    for (const method of ["mean", "resample"] as const) {
      const request = { model: MODEL, rows: [ids], heads: ["1.2"], method, controls: 1, seed: 3 };
      const { value } = await handled<AblateResult>("ablate", request);
      const reference = randomReference(model, [ids], method, 3)!;
      expect(reference.map((row) => [row[0], row.length])).toEqual(new Array(8).fill([0, 17]));
      const heads = asRefs(["1.2"]);
      const direct = await ablate(model, { tokens: [ids], heads, method, reference, controls: 1, seed: 3 });
      expect(value.reference).toBe("random");
      expect(apart(value.ablated.nll[0]!, direct.ablated.nll[0]!)).toBeLessThan(1e-5);
    }
    const given = { model: MODEL, rows: [ids], heads: ["1.2"], method: "mean", reference: [other] };
    expect((await handled<AblateResult>("ablate", given)).value.reference).toBeUndefined();
    const rows = { model: MODEL, rows: [ids, other], heads: ["1.2"], method: "mean" };
    expect((await handled<AblateResult>("ablate", rows)).value.reference).toBeUndefined();
  });

  it("is refused for a head that there is not", async () => {
    const refused = handled("ablate", { model: MODEL, rows: [ids], heads: ["3.0"] });
    await expect(refused).rejects.toMatchObject({ kind: "usage", message: expect.stringContaining("no layer 3") });
  });

  it("finds its functions compiled in advance, whatever its layer, and leaves no tensor behind", async () => {
    const longer = randomTokens(1, 40, CONFIG.d_vocab)[0]!;
    await prepare(model, longer, new AbortController().signal);
    const captures = functions.captures;
    for (const head of ["0.1", "1.4", "2.3"]) await handled("ablate", { model: MODEL, rows: [longer], heads: [head] });
    await handled("patterns", { model: MODEL, ids: longer, layer: 2, slice: {} });
    expect(functions.captures).toBe(captures);
    const before = tf.memory().numTensors;
    await handled("ablate", { model: MODEL, rows: [longer], heads: ["1.2"] });
    await prepare(model, longer, new AbortController().signal);
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe("interventions on a prompt", () => {
  it("give the losses and next tokens that an eager hook gives", async () => {
    const interventions = [
      { at: "attn.hook_z", layer: 1, heads: [0, 4], do: "zero" },
      { at: "blocks.2.hook_resid_pre", positions: [3], do: "scale", with: 0.5 },
    ];
    const { value } = await handled<InterveneResult>("intervene", { model: MODEL, ids, interventions, topTokens: 3 });
    const hook = (t: Tensor, axis: number, chosen: number[], factor: number) =>
      tf.mul(
        t,
        tf.tensor(
          Array.from({ length: t.shape[axis]! }, (_, i) => (chosen.includes(i) ? factor : 1)),
          t.shape.map((n, a) => (a === axis ? n : 1)),
        ),
      );
    const logits = runWithHooks(model, ids, {
      hooks: [
        ["blocks.1.attn.hook_z", (t) => hook(t, 2, [0, 4], 0)],
        ["blocks.2.hook_resid_pre", (t) => hook(t, 1, [3], 0.5)],
      ],
    })!;
    const rows = (logits.arraySync() as number[][][])[0]!;
    logits.dispose();
    const nll = ids.slice(1).map((id, t) => {
      const total = rows[t]!.reduce((sum, x) => sum + Math.exp(x), 0);
      return Math.log(total) - rows[t]![id]!;
    });
    expect(apart(value.changed.nll, nll)).toBeLessThan(2e-4);
    expect(value.changed.next).toHaveLength(3);
    expect(apart(value.clean.nll, nll)).toBeGreaterThan(0.01);
  });

  it("may change the embedding, and refuse the final norm and what is no intervention", async () => {
    const intervene = (one: object) =>
      handled<InterveneResult>("intervene", { model: MODEL, ids, interventions: [one] });
    const none = await intervene({ at: "hook_embed", do: "scale", with: 1 });
    expect(apart(none.value.changed.nll, none.value.clean.nll)).toBeLessThan(1e-5);
    await expect(intervene({ at: "ln_final.hook_normalized", do: "zero" })).rejects.toMatchObject({
      remedy: expect.stringContaining("hook_resid_post"),
    });
    await expect(intervene({ at: "hook_embed", do: "zap" })).rejects.toThrow('unknown intervention "zap"');
  });
});

describe("a pair of prompts", () => {
  const align = async (pair: object) => (await handled<PairAlignment>("pairs", { model: MODEL, pair })).value;

  it("is aligned token by token", async () => {
    const corrupt = ids.map((id, i) => (i === 4 || i === 9 ? (id + 1) % CONFIG.d_vocab : id));
    const found = await align({ clean: ids, corrupt, answer: 7, wrong: 8 });
    expect(found.differ).toEqual([4, 9]);
    expect(found.problem).toBeUndefined();
    expect(found.answer).toMatchObject({ id: 7, text: "7" });
    const { value } = await handled<{ next: { id: number; probability: number }[] }>("prompt", { model: MODEL, tokens: ids });
    const best = value.next[0]!;
    expect((await align({ clean: ids, corrupt, answer: best.id, wrong: 8 })).answer.probability).toBeCloseTo(best.probability, 6);
  }); // biome-ignore format: long lines

  it.each([
    ["of two lengths", { corrupt: [1, 2, 3] }, "the clean prompt has 17 tokens and the corrupt one 3; patching goes position by position: give two sides of one length"],
    ["that are one prompt", { corrupt: ids }, "the two prompts are the same; change what decides between the answers"],
    ["of one answer", { wrong: 7 }, "the answer and the wrong one are the same token; give two different ones"],
  ])("says what is wrong with prompts %s", async (_, change, problem) => {
    expect((await align({ clean: ids, corrupt: other, answer: 7, wrong: 8, ...change })).problem).toBe(problem);
  }); // biome-ignore format: long lines

  it("is patched as the library patches it, with progress", async () => {
    const pair = { clean: ids, corrupt: other, answer: 7, wrong: 8 };
    const { value, events } = await handled<PatchResponse>("patch", { model: MODEL, pairs: [pair], by: "head", layers: [1] });
    expect(value).toMatchObject(await patch(model, { pairs: [pair], node: "z", by: "head", layers: [1] }));
    expect(events).toEqual([{ event: "progress", done: 1, total: 1, label: "patching, layers" }]);
    const paths = { model: MODEL, pairs: [pair], into: ["2.1"], through: "k" };
    const into = asRefs(["2.1"]);
    expect((await handled<PatchResponse>("patch", paths)).value).toMatchObject(
      await patchPaths(model, { pairs: [pair], into, through: "k" }),
    );
    await expect(handled("patch", { ...paths, through: undefined })).rejects.toThrow(refused("usage"));
  }); // biome-ignore format: long lines

  it("stops between layers when it is cancelled, and leaves no tensor behind", async () => {
    const pairs = [{ clean: ids, corrupt: other, answer: 7, wrong: 8 }];
    for (const request of [{ pairs }, { pairs, into: ["2.1"], through: "q" }]) {
      await handled("patch", { model: MODEL, ...request });
      const before = tf.memory().numTensors;
      const stop = new AbortController();
      const onEvent = () => stop.abort(new Error("enough"));
      const stopped = handled("patch", { model: MODEL, ...request }, { signal: stop.signal, onEvent });
      await expect(stopped).rejects.toThrow("enough");
      expect(tf.memory().numTensors).toBe(before);
    }
  });
});
