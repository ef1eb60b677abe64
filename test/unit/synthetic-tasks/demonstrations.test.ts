import { describe, expect, it } from "vitest";
import { Random } from "../../../backend/common/random.ts";
import {
  checkShots,
  drawOpenings,
  drawPrompts,
  drawText,
  drawTwins,
  LABELLED_TEXTS,
  labelTokens,
  promptTokens,
} from "../../../synthetic-tasks/demonstrations/index.ts";
import { wordModel } from "../../helpers/texts/word-model.ts";

const model = wordModel();
const text = (ids: readonly number[]): string => model.tokenizer.decode([...ids]);
const counts = (values: readonly number[], of: number): number[] =>
  Array.from({ length: of }, (_, i) => values.filter((value) => value === i).length);

describe.each(LABELLED_TEXTS)("prompts of $name", (texts) => {
  const labels = texts.labels.length;
  const prompts = drawPrompts(texts, { count: 8 * labels, shots: 2 * labels }, new Random(3));

  it("ask for every label equally often, and show every label equally often", () => {
    expect(counts(prompts.map(({ query }) => query.label), labels)).toEqual(Array(labels).fill(8)); // biome-ignore format: one line
    for (const { demonstrations } of prompts)
      expect(counts(demonstrations.map(({ label }) => label), labels)).toEqual(Array(labels).fill(2)); // biome-ignore format: one line
  });

  it("show labels in orders that differ, so that no place says a label", () => {
    const firsts = counts(prompts.map(({ demonstrations }) => demonstrations[0]!.label), labels); // biome-ignore format: one line
    for (const count of firsts) expect(count).toBeGreaterThan(0);
  });

  it("have no text twice, and no query twice over all of them", () => {
    for (const { demonstrations, query } of prompts)
      expect(new Set([query, ...demonstrations].map((each) => each.text)).size).toBe(2 * labels + 1);
    expect(new Set(prompts.map(({ query }) => query.text)).size).toBe(prompts.length);
  });

  it("are made by their seed", () => {
    const again = drawPrompts(texts, { count: 8 * labels, shots: 2 * labels }, new Random(3));
    expect(again).toEqual(prompts);
    expect(drawPrompts(texts, { count: 8, shots: labels }, new Random(4))).not.toEqual(prompts.slice(0, 8));
  });

  it("have words for every slot of every label, each in its own lists", () => {
    for (const [label, slots] of texts.slots.entries())
      for (const template of texts.templates)
        for (const [, slot] of template.matchAll(/\{(\w+)\}/g)) {
          expect(slots[slot!]!.length).toBeGreaterThan(2);
          expect(new Set(slots[slot!]).size).toBe(slots[slot!]!.length);
          expect(drawText(texts, label, new Random(1)).text).not.toMatch(/[{}]|undefined/);
        }
  });

  it("say where texts, forerunners and labels stand", () => {
    for (const prompt of prompts.slice(0, 6)) {
      const { tokens, texts: spans, forerunners, labels: places } = promptTokens(model, texts, prompt);
      const parts = [...prompt.demonstrations, prompt.query];
      expect(spans.map(([from, to]) => text(tokens.slice(from, to)).replace("<bos>", ""))).toEqual(
        parts.map((part) => part.text),
      );
      expect(forerunners.map((place) => text([tokens[place]!]))).toEqual(parts.map(() => ":"));
      expect(places.map((place) => text([tokens[place]!]).trim())).toEqual(
        prompt.demonstrations.map(({ label }) => texts.labels[label]),
      );
      expect(forerunners.at(-1)).toBe(tokens.length - 1);
      expect(labelTokens(model, texts)[prompt.demonstrations[0]!.label]).toBe(tokens[places[0]!]);
    }
  });

  it("are refused where the labels can't share the demonstrations, and where texts run out", () => {
    expect(() => checkShots(texts, labels + 1)).toThrow(expect.objectContaining({ kind: "usage", field: "shots" }));
    expect(() => drawPrompts(texts, { count: 20_000, shots: labels }, new Random(0))).toThrow(
      expect.objectContaining({ kind: "usage", field: "prompts" }),
    );
  });
});

it("a tokenizer that cuts label words or joins parts is refused", () => {
  const [sentiment] = LABELLED_TEXTS;
  const [prompt] = drawPrompts(sentiment!, { count: 2, shots: 2 }, new Random(0));
  const cutting = wordModel({ cut: (word) => word === "positive" });
  expect(() => labelTokens(cutting, sentiment!)).toThrow(expect.objectContaining({ kind: "unsupported" }));
  const joining = wordModel({ join: /:( \w+)/ });
  expect(() => promptTokens(joining, sentiment!, prompt!)).toThrow(expect.objectContaining({ kind: "unsupported" }));
});

describe("texts without demonstrations", () => {
  const [sentiment] = LABELLED_TEXTS;

  it("come in pairs that differ in the words of their label alone", () => {
    const twins = drawTwins(sentiment!, [1, 0], 30, new Random(2));
    expect(new Set(twins.map(([text]) => text)).size).toBe(30);
    const [positive, negative] = sentiment!.slots.map(({ quality, feeling }) => [...quality!, ...feeling!]) as [string[], string[]]; // biome-ignore format: one line
    for (const [source, target] of twins) {
      const [from, to] = [source.split(" "), target.split(" ")];
      expect(to).toHaveLength(from.length);
      for (const [i, word] of from.entries()) {
        if (word === to[i]) continue;
        expect(negative.indexOf(word)).toBeGreaterThanOrEqual(0);
        expect(positive.indexOf(to[i]!)).toBe(negative.indexOf(word));
      }
    }
  });

  it("begin up to the word of their label, without any other of its words", () => {
    const openings = drawOpenings(sentiment!, "quality", 20, new Random(2));
    expect(new Set(openings).size).toBe(20);
    const said = sentiment!.slots.flatMap(({ quality, feeling }) => [...quality!, ...feeling!]);
    for (const opening of openings) {
      expect(opening).toMatch(/^(the \w+ (was|felt)|.+ called the \w+|it was a)$/);
      for (const word of opening.split(" ")) expect(said).not.toContain(word);
    }
  });

  it("are refused where there are no more", () => {
    expect(() => drawTwins(sentiment!, [1, 0], 30_000, new Random(0))).toThrow(expect.objectContaining({ kind: "usage", field: "examples" })); // biome-ignore format: one line
    expect(() => drawOpenings(sentiment!, "quality", 5000, new Random(0))).toThrow(expect.objectContaining({ kind: "usage", field: "prompts" })); // biome-ignore format: one line
  });
});
