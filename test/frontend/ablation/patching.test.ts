import { beforeAll, describe, expect, it, vi } from "vitest";
import { pairFileSchema } from "../../../backend/circuits/pairs.ts";
import { heldToken, partParam, wrongToken } from "../../../frontend/src/ablation/params.ts";
import {
  answerText,
  EXAMPLES,
  pairFile,
  readAnswer,
  readPairFile,
  readSide,
  repeatedPair,
  sideText,
} from "../../../frontend/src/patching/pair/pairs.ts";
import { ablationOf } from "../../../frontend/src/patching/result/ablation.ts";
import {
  doubts,
  lengthWords,
  oddLength,
  placesOf,
  rawOf,
  restoration,
  scaleEnd,
  strongestPlaces,
  unionOfDiffer,
} from "../../../frontend/src/patching/result/restoration.ts";
import { positionIn } from "../../../frontend/src/state/hold.ts";
import { prompt, promptText } from "../../../frontend/src/state/prompt.svelte.ts";
import { selection } from "../../../frontend/src/state/selection.svelte.ts";
import { view } from "../../../frontend/src/state/url.svelte.ts";
import { workspace } from "../../../frontend/src/state/workspace.svelte.ts";
import { patiently } from "../../helpers/runner/patience.ts";

describe("what patching restores", () => {
  const response = { clean: 6, corrupt: -4, patched: [[-4, 6, 1], [-6, 8, -4]] }; // biome-ignore format: rows

  it("is 0 where the corrupt run stays and 1 where the clean one comes back", () => {
    expect(restoration(response)).toEqual([[0, 1, 0.5], [-0.2, 1.2, 0]]); // biome-ignore format: rows
    expect(rawOf(0.5, response)).toBe(1);
  });

  it("is no number where the runs do not differ", () => {
    expect(restoration({ clean: 1, corrupt: 1, patched: [[2]] })).toEqual([[Number.NaN]]);
    expect(scaleEnd([[Number.NaN]])).toBe(0.1);
    expect(strongestPlaces([[Number.NaN, 0.2]], 5)).toEqual([{ layer: 0, column: 1, share: 0.2 }]);
  });

  it("is ranked by how far it moves either way", () => {
    const best = strongestPlaces(restoration(response), 3).map(({ layer, column }) => `${layer}.${column}`);
    expect(best).toEqual(["1.1", "0.1", "0.2"]);
    expect(scaleEnd(restoration(response))).toBe(1.2);
  });

  it("is doubted where the model does not tell the pair apart", () => {
    const of = (clean: number, corrupt: number) => doubts({ clean, corrupt });
    expect(of(3, -2)).toBeUndefined();
    expect(of(3, 1)).toContain("in the corrupt prompt too");
    expect(of(-1, -2)).toContain("not prefer the answer even");
    expect(of(-1, 2)).toContain("swapped");
    expect(of(1, 1)).toContain("nothing to restore");
  });

  it("goes head by head only where there are heads", () => {
    expect(placesOf("z")).toContain("head");
    expect(placesOf("mlp_out")).toEqual(["position", "layer"]);
  });
});

describe("pairs", () => {
  it("of the examples have the file format of the command line, alone and together", () => {
    const all = Object.values(EXAMPLES);
    for (const pairs of [all, all.slice(0, 1)]) {
      expect(pairFileSchema.safeParse(JSON.parse(pairFile(pairs))).success).toBe(true);
      expect(readPairFile(pairFile(pairs))).toEqual(pairs);
    }
  });

  it("for token models repeat a segment half, and differ in the token that comes next", () => {
    for (const [vocabulary, context] of [
      [64, 64],
      [8, 16],
      [5, 6],
    ] as const) {
      // biome-ignore format: rows
      const { clean, corrupt, answer, wrong } = repeatedPair(vocabulary, context) as Record<"clean" | "corrupt", number[]> &
        Record<"answer" | "wrong", number>;
      expect(corrupt).toHaveLength(clean.length);
      expect(clean.length).toBeLessThan(context);
      const differ = clean.flatMap((id, i) => (id === corrupt[i] ? [] : [i]));
      expect(differ).toHaveLength(1);
      expect([clean[differ[0]!], corrupt[differ[0]!]]).toEqual([answer, wrong]);
      // The last token stood before the answer, and nowhere else before.
      expect(clean.indexOf(clean.at(-1)!)).toBe(differ[0]! - 1);
      expect(new Set([...clean, wrong]).size).toBeLessThanOrEqual(vocabulary);
      expect(Math.max(...clean, wrong)).toBeLessThan(vocabulary);
      expect(clean).not.toContain(wrong);
    }
  });

  it("are typed as text, or as ids where the model has no tokenizer", () => {
    expect(readSide("3 5, 7", false)).toEqual([3, 5, 7]);
    expect(readSide("3 five", false)).toBeUndefined();
    expect(readSide("3 5", true)).toBe("3 5");
    expect(sideText([3, 5])).toBe("3 5");
  });

  it("have answers that are a text or an id", () => {
    expect([readAnswer(" Brown", true), readAnswer("#7", true), readAnswer("7", true), readAnswer("7", false)]).toEqual(
      [" Brown", 7, "7", 7],
    );
    expect(readAnswer("x", false)).toBeUndefined();
    expect([answerText(7, true), answerText(7, false), answerText(" a", true)]).toEqual(["#7", "7", " a"]);
  });

  it("that are no pairs are refused by their number", () => {
    expect(() => readPairFile('[{"clean": "a", "corrupt": "b", "answer": "c", "wrong": 1}, {"clean": "a"}]')).toThrow(
      "Pair 1",
    );
    expect(() => readPairFile("[]")).toThrow("no pair");
  });

  it("of different lengths are explained with the number of tokens too many", () => {
    expect(lengthWords(14, 12)).toContain("the clean prompt has 2 tokens more (14 and 12)");
    expect(lengthWords(8, 9)).toContain("the corrupt prompt has one token more");
  });

  it("of different lengths have no table by position", () => {
    const of = (...lengths: number[]) =>
      oddLength(lengths.map((n) => ({ clean: { ids: new Array(n).fill(0), tokens: [] } })));
    expect(of()).toBeUndefined();
    expect(of(5, 5)).toBeUndefined();
    expect(of(5, 5, 7)).toContain("pair 1 has 5 tokens, pair 3 has 7");
  });

  it("together differ where any of them does", () => {
    expect(unionOfDiffer([{ differ: [4, 9] }, { differ: [2, 4] }])).toEqual([2, 4, 9]);
  });
});

describe("the link from the strongest places to the Ablation page", () => {
  const candidate = (id: number, text: string) => ({ id, text, probability: 0.5 });
  const model = (ref: string) => ({ ref, family: "llama", digest: `sha256:${ref}`, layers: 2, heads: 4, kvHeads: 4 });
  const ANSWERS: Record<string, unknown> = {
    "/api/models": ["words", "ids"].map((ref) => ({ ref, title: ref, kind: "constructed", ready: true })),
    "/api/models/words": { ...model("words"), config: { d_vocab: 100, n_ctx: 64 }, tokenizer: { addsBos: false } },
    "/api/models/ids": { ...model("ids"), config: { d_vocab: 100, n_ctx: 64 } },
  };

  beforeAll(() => {
    vi.stubGlobal("fetch", (path: string) => Promise.resolve(Response.json(ANSWERS[path] ?? [])));
    workspace.open();
  });

  it.each([
    [
      "words",
      { clean: "Mary and John: John gave to", corrupt: "Mary and John: Mary gave to" },
      "Mary and John: John gave to Mary",
    ],
    ["ids", { clean: [0, 5, 9, 5], corrupt: [0, 5, 7, 5] }, "0 5 9 5 9"],
  ])("asks the question of the pair, with its heads out, in a model of %s", async (ref, sides, text) => {
    workspace.model = ref;
    await vi.waitFor(() => {
      workspace.follow();
      expect(workspace.info.value?.ref).toBe(ref);
    }, patiently(5_000));
    promptText.value = "another story's text";
    selection.value = [];
    const ids = [0, 5, 9, 5];
    const tokens = { ids, tokens: ids.map(String) };
    const alignment = {
      clean: tokens,
      corrupt: tokens,
      differ: [2],
      answer: candidate(9, " Mary"),
      wrong: candidate(7, " John"),
    };
    const question = ablationOf({ ...sides, answer: 9, wrong: 7 }, alignment);
    const { pathname } = new URL(view.href("ablation", question), location.href);
    expect(pathname).toBe("/ablation");

    view.change({ ...selection.to(["1.0", "1.2"]), ...question }, "ablation");
    expect(promptText.value).toBe(text);
    // The answer follows the clean prompt, is held there in this very text, and is set against the wrong one.
    expect(positionIn(heldToken.value, prompt.request)).toBe(ids.length);
    expect(wrongToken.value).toBe(7);
    expect(partParam.value).toBe("auto");
    expect(selection.value).toEqual(["1.0", "1.2"]);
  });
});
