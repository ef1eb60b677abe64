import { beforeAll, describe, expect, it, vi } from "vitest";
import { ablationRequest } from "../../../frontend/src/ablation/ablationRequest.svelte.ts";
import { answerMetric, heldToken, wrongToken } from "../../../frontend/src/ablation/params.ts";
import { metricParam } from "../../../frontend/src/components/head-metrics/params.ts";
import { textScores } from "../../../frontend/src/components/head-metrics/textScores.svelte.ts";
import { sideText } from "../../../frontend/src/patching/pair/pairs.ts";
import { pairMetric, pairsParam } from "../../../frontend/src/patching/params.ts";
import { patching } from "../../../frontend/src/patching/patching.svelte.ts";
import { isQuestionOf, lendQuestion, questionOn } from "../../../frontend/src/patching/question.ts";
import { hold, positionIn } from "../../../frontend/src/state/hold.ts";
import { prompt, promptText } from "../../../frontend/src/state/prompt.svelte.ts";
import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

const side = { ids: [0, 5, 9, 5], tokens: ["0", "5", "9", "5"] };
const candidate = (id: number) => ({ id, text: String(id), probability: 0.5 });
const ANSWERS: Record<string, unknown> = {
  "/api/models": [{ ref: "ids", title: "ids", kind: "constructed", ready: true }],
  "/api/models/ids": {
    ...{ ref: "ids", family: "llama", digest: "sha256:ids", layers: 2, heads: 4, kvHeads: 4 },
    config: { d_vocab: 100, n_ctx: 64 },
  },
  "/api/pairs": { clean: side, corrupt: side, differ: [], answer: candidate(9), wrong: candidate(7) },
  "/api/prompts": { next: [] },
};

describe("the question of a pair", () => {
  const pair = { clean: [0, 5, 9, 5], corrupt: [0, 5, 7, 5], answer: 9, wrong: 7 };

  beforeAll(async () => {
    vi.stubGlobal("fetch", (path: string) => Promise.resolve(Response.json(ANSWERS[path] ?? [])));
    workspace.open();
    workspace.model = "ids";
    pairsParam.value = [pair];
    await vi.waitFor(() => {
      workspace.follow();
      patching.align();
      expect(patching.alignment).toBeDefined();
    }, patiently(5_000));
  });

  it("goes to the Ablation and Attention pages and comes back with its pair", () => {
    view.change(questionOn("ablation"), "ablation");
    expect(promptText.value).toBe("0 5 9 5 9");
    expect(positionIn(heldToken.value, prompt.request)).toBe(4);
    expect(wrongToken.value).toBe(7);
    pairMetric.value = "probability";
    expect(answerMetric.value).toBe("probability");
    answerMetric.value = "logit-diff";
    expect(pairMetric.value).toBe("logit-diff");
    expect(isQuestionOf(pair, promptText.value)).toBe(true);
    view.change({ ...questionOn("attention"), ...wrongToken.to(-1) }, "attention");
    expect(promptText.value).toBe(sideText(pair.clean));
    // Its answer stands behind the text there, and can be measured against the wrong one all the same.
    heldToken.value = undefined;
    expect(ablationRequest.contrast).toEqual({ position: 4, answer: 9, wrong: 7 });
    heldToken.value = hold(2, prompt.request);
    expect(ablationRequest.contrast).toBeUndefined();
    view.change(questionOn("heads"), "heads");
    expect([promptText.value, metricParam.value]).toEqual([sideText(pair.clean), "text#direct-effect"]);
    expect(textScores.question).toEqual({ position: 4, answer: 9, wrong: 7 });
    for (const page of ["circuits", "patching"] as const) {
      view.change(questionOn(page), page);
      expect(pairsParam.value).toEqual([pair]);
    }
  });

  it("is what the card of a head asks the Ablation and Attention pages", () => {
    const end = lendQuestion();
    expect(prompt.carried("ablation")).toEqual(questionOn("ablation"));
    expect(prompt.carried("ablation")).toHaveProperty(wrongToken.name, "7");
    expect(prompt.carried("attention")).toMatchObject(promptText.to(sideText(pair.clean)));
    end?.();
    expect(prompt.carried("ablation")).toEqual({});
  });

  it("is not that of another text, nor of one that goes on within a token id", () => {
    expect(isQuestionOf(pair, "0 5 9 51")).toBe(false);
    expect(isQuestionOf(pair, "1 5 9 5")).toBe(false);
    const words = { clean: "Mary and John gave to", corrupt: "John and Mary gave to", answer: " Mary", wrong: " John" };
    expect(isQuestionOf(words, "Mary and John gave to Mary")).toBe(true);
    expect(isQuestionOf(words, "John and Mary gave to Mary")).toBe(false);
  });
});
