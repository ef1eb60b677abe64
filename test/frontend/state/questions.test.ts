import { describe, expect, it } from "vitest";
import type { QueueEntry } from "../../../backend/common/api/health.ts";
import type { Candidate } from "../../../backend/common/api/prompts.ts";
import { meanLossAt, partPositions, repeatedPositions, type TextPart } from "../../../backend/common/texts/parts.ts";
import { partFor, shownPart, textParts } from "../../../frontend/src/ablation/loss/part.ts";
import { controlLosses, verdictOf } from "../../../frontend/src/components/head-card/verdict.ts";
import { meantToken, precedingPair, repeatedPair } from "../../../frontend/src/patching/pair/pairs.ts";
import type { Patched } from "../../../frontend/src/patching/patching.svelte.ts";
import { nothingWords, queryHeads } from "../../../frontend/src/patching/result/result.ts";
import { hold, holdCodec, positionIn } from "../../../frontend/src/state/hold.ts";
import { reasonOf } from "../../../frontend/src/state/queue.svelte.ts";

describe("the part of a text that a verdict is about", () => {
  const ids = [0, 5, 9, 7, 5, 9, 7, 3];
  const text = { ids, tokens: ids.map(String), held: undefined, answered: false, trained: undefined };

  it("can be what copying foretells: tokens that followed the same token before", () => {
    expect(repeatedPositions(ids)).toEqual([5, 6]);
    expect(repeatedPositions([1, 2, 3])).toEqual([]);
    // A token that comes again after another one is not foretold by copying.
    expect(repeatedPositions([1, 2, 3, 2])).toEqual([]);
  });

  it("is what the task trains, where the text has it; else all of it", () => {
    expect(partFor("auto", { ...text, trained: "repeated" })).toBe("repeated");
    expect(partFor("auto", { ...text, ids: [0, 1, 2], trained: "repeated" })).toBe("all");
    expect(partFor("auto", text)).toBe("all");
  });

  it("is the held token, or its answer against the wrong one, unless another is chosen", () => {
    expect(partFor("auto", { ...text, held: 3, trained: "repeated" })).toBe("token");
    expect(partFor("auto", { ...text, held: 3, answered: true })).toBe("answer");
    expect(partFor("from", { ...text, held: 3 })).toBe("from");
    expect(partFor("token", text)).toBe("all");
    expect(textParts({ ...text, held: 0 }).map(({ part }) => part)).toEqual(["all", "repeated"]);
  });

  it("that is about a held token is asked for by its position, and the others are not", () => {
    const input = { ...text, held: 4, answered: true };
    expect(textParts(input).map(({ part }) => [part, shownPart(part, input).held])).toEqual([
      ["all", undefined],
      ["repeated", undefined],
      ["token", 4],
      ["word", 4],
      ["from", 4],
      ["answer", 4],
    ]);
    // A word that stands once is the token itself.
    expect(textParts({ ...text, held: 7 }).map(({ part }) => part)).not.toContain("word");
  });

  it("has losses of its own", () => {
    const nll = [1, 2, 3, 4, 5, 6, 7];
    const of = (part: TextPart, held?: number) => meanLossAt([nll], [partPositions(part, ids, held)]);
    expect([of("all"), of("repeated"), of("token", 3), of("from", 6)]).toEqual([4, 5.5, 3, 6.5]);
    // 5 stands at 1 and 4: every token like the held one, whichever of them is held.
    expect([of("word", 1), of("word", 4)]).toEqual([2.5, 2.5]);
  });

  it("decides the verdict where the mean over all tokens says nothing", () => {
    // As on a run: the copy is lost, and the first copy that nobody trained gets easier by as much.
    const before = [9, 8, 9, 0, 0, 0, 4];
    const after = [9, 3, 2, 6, 0, 6, 4];
    const mean = (nll: number[], part: "all" | "repeated") => meanLossAt([nll], [partPositions(part, ids)]);
    expect(mean(after, "all")).toBeCloseTo(mean(before, "all"), 10);
    expect(mean(after, "repeated") - mean(before, "repeated")).toBe(3);
  });
});

describe("a verdict", () => {
  it("without other heads to draw says that there are none, and one that asked for no control says that", () => {
    const losses = { clean: 1, changed: 2 };
    expect(verdictOf({ ...losses, wanted: true }).words).toContain("no other heads in these layers");
    expect(verdictOf({ ...losses, wanted: false }).words).not.toContain("no other heads");
  });

  it("names what it is over", () => {
    const control = controlLosses([1, 1.1], 1, 1);
    const { words, kind } = verdictOf({ clean: 1, changed: 2, control, over: "the repeated tokens" });
    expect([words.includes("the loss on the repeated tokens by 1.000"), kind]).toEqual([true, "worse"]);
  });

  it("over a logit difference is worse below the control's range, and milder above it", () => {
    const control = controlLosses([5.8, 6.1], 1, 1);
    const kind = (changed: number) => verdictOf({ clean: 6, changed, control, measure: "logit-diff" }).kind;
    expect([kind(2), kind(6), kind(8)]).toEqual(["worse", "within", "milder"]);
  });

  it("over another metric knows which way is worse: a probability falls, a divergence from the clean run rises", () => {
    const kindBy = (measure: "probability" | "kl", changed: number) =>
      verdictOf({ clean: 0.5, changed, control: controlLosses([0.45, 0.55], 1, 1), measure }).kind;
    expect([kindBy("probability", 0.1), kindBy("probability", 0.9)]).toEqual(["worse", "milder"]);
    expect([kindBy("kl", 0.1), kindBy("kl", 0.9)]).toEqual(["milder", "worse"]);
  });
});

describe("a held token", () => {
  const [a, b] = [
    { model: "m", text: "Mary had" },
    { model: "m", text: "Mary had a" },
  ];

  it("is held in its text alone, also through an address", () => {
    const held = hold(3, a);
    const read = holdCodec.decode(holdCodec.encode(held));
    expect(read).toEqual(held);
    expect([positionIn(read, a), positionIn(read, b), positionIn(read, { ...a, model: "other" })]).toEqual([
      3,
      undefined,
      undefined,
    ]);
  });

  it("that names no text holds nothing", () => {
    expect(holdCodec.decode("3")).toBeUndefined();
    expect(positionIn(hold(undefined, a), a)).toBeUndefined();
  });
});

describe("a typed answer", () => {
  const of = (text: string, probability: number, id = 1): Candidate => ({ id, text, probability });
  const likely = [of(" Mary", 0.92, 7), of(" her", 0.03, 8)];

  it("that is all but impossible, beside a likely token that reads the same, was probably meant as that one", () => {
    expect(meantToken("Mary", of("Mary", 0.0004), likely)?.id).toBe(7);
    expect(meantToken(" mary", of(" mary", 0.0001), likely)?.id).toBe(7);
  });

  it("that is possible, another word, or an id is meant as it stands", () => {
    expect(meantToken("Mary", of("Mary", 0.01), likely)).toBeUndefined();
    expect(meantToken("Bob", of("Bob", 0.0001), likely)).toBeUndefined();
    expect(meantToken("her", of("her", 0.0001), likely)).toBeUndefined();
    expect(meantToken(5, of("Mary", 0.0001), likely)).toBeUndefined();
  });
});

describe("the pair that tests matching", () => {
  it("keeps what is copied and swaps what came before it, for every size of a model", () => {
    for (const [vocabulary, context] of [[64, 64], [32, 40], [8, 16]] as const) {
      const { clean, corrupt, answer, wrong } = precedingPair(vocabulary, context) as unknown as Record<"clean" | "corrupt", number[]> & Record<"answer" | "wrong", number>;
      const differ = clean.flatMap((id, i) => (id === corrupt[i] ? [] : [i]));
      expect([...corrupt].sort()).toEqual([...clean].sort());
      expect(differ).toHaveLength(2);
      // Whoever follows the last token's earlier occurrence finds the answer in one prompt and the wrong one in the other.
      const followed = (ids: number[]): number => ids[ids.indexOf(ids.at(-1)!) + 1]!;
      expect([followed(clean), followed(corrupt)]).toEqual([answer, wrong]);
      expect([clean.filter((id) => id === answer), corrupt.filter((id) => id === answer)].map((found) => found.length)).toEqual([1, 1]);
    }
  }); // biome-ignore format: tables

  it("gives way to a plain one where a segment is too short for it", () => {
    expect(precedingPair(5, 6)).toEqual(repeatedPair(5, 6));
  });
});

describe("paths that restore nothing", () => {
  const patched = (through: "q" | "k" | "v", restored: number[]) =>
    ({
      path: { into: ["1.0"], through },
      response: { clean: 1, corrupt: 0, patched: [restored] },
    }) as unknown as Patched;

  it("are explained by what the input decides, and no others are", () => {
    expect(nothingWords(patched("k", [0, 0.001]))).toContain("Keys decide where");
    expect(nothingWords(patched("v", [0, 0]))).toContain("Values decide what");
    expect(nothingWords(patched("k", [0, 0.5]))).toBeUndefined();
  });
});

describe("a cell of a table of patched heads", () => {
  const shape = { layers: 30, heads: 9, kvHeads: 3 };
  const queryHeadsOf = (node: string) => queryHeads("18.2", { node, by: "head" } as Patched, shape);

  it("stands for the query heads that read the KV head, where keys or values were patched", () => {
    expect(queryHeadsOf("k")).toEqual(["18.6", "18.7", "18.8"]);
    expect(queryHeadsOf("v")).toEqual(["18.6", "18.7", "18.8"]);
    expect(queryHeadsOf("z")).toEqual(["18.2"]);
  });
});

describe("what a request waits for", () => {
  const entry = (id: string, more: Partial<QueueEntry>): QueueEntry => ({
    id,
    kind: "prompt",
    lane: "long",
    state: "waiting",
    ...more,
  });
  const entries = [
    entry("b.1", { state: "computing", tokens: 5_000, seconds: 80, ms: 20_000 }),
    entry("a.1", { kind: "patch" }),
    entry("a.2", { kind: "generate" }),
    entry("a.3", { lane: "short", state: "computing" }),
    entry("a.4", { lane: "short", kind: "patterns" }),
  ];

  it("is the first of its line, with what that is, whose, and how long it takes yet", () => {
    expect(reasonOf(entries, "a.1", "a")).toBe("behind a text of 5,000 tokens in another tab, about 60 s left");
    expect(reasonOf(entries, "a.2", "a")).toContain("number 2 in the line");
    expect(reasonOf(entries, "b.9", "b")).toBe("");
  });

  it("is never a long one where it is short itself", () => {
    expect(reasonOf(entries, "a.4", "a")).toBe("behind a text");
  });

  it("is its own computing, with how far that is", () => {
    const own = entry("a.1", {
      state: "computing",
      tokens: 2_000,
      seconds: 9,
      ms: 4_000,
      progress: { done: 15, total: 30 },
    });
    expect(reasonOf([own], "a.1", "a")).toBe("2,000 tokens, 50%, about 4.0 s left");
  });
});
