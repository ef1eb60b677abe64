import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const SOURCES = join(import.meta.dirname, "../../../frontend/src");
const NOUNS =
  "tokens|heads|seeds|runs|steps|layers|rows|samples|draws|questions|queries|keys|pairs|trials|checkpoints|models|answers|prompts|sets|files";
/** A value in a text before a noun in the plural: "{ids.length} new tokens", "${count} of ${all} heads". */
const FIXED = new RegExp(
  `(?<![%=])\\{[^{}]*\\}(?:</\\w+>)?\\s+(?:of\\s+\\$?\\{[^{}]*\\}\\s+)?(?:(?:other|new|KV|query|random|masked)\\s+)*(?:${NOUNS})\\b(?!=)`,
  "g",
);

/** Texts in which the value is no number, or is more than one wherever they are shown. */
const FITTING = [
  "{measureTitle(metric.key)} heads", // a name
  "{dragged.length}</strong> heads", // of a rectangle of two or more
  "{draws} other heads",
  "{fewer} other heads",
  "{left.length} new tokens",
  '{curve.lengths.join(", ")} tokens', // lengths of long texts
  '{LONGEST_PROMPT.toLocaleString("en")} tokens',
];

function sources(): string[] {
  return readdirSync(SOURCES, { recursive: true, encoding: "utf8" }).filter((name) => /\.(svelte|ts)$/.test(name));
}

describe("a number that may be one", () => {
  it("stands before its noun in the right number: no text has the plural alone", () => {
    const found = sources().flatMap((name) => {
      const texts = readFileSync(join(SOURCES, name), "utf8").match(FIXED) ?? [];
      return texts.filter((each) => !FITTING.includes(each)).map((each) => `${name}: ${each}`);
    });
    expect(found).toEqual([]);
  });

  it.each(["{value.result.ids.length} new tokens", "{queries} queries", "<b>{n}</b> of {total} heads"])(
    "is found in %s",
    (text) => {
      expect(text.match(FIXED)).not.toBeNull();
    },
  );
});
