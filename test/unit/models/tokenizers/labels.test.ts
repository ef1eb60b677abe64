import { describe, expect, test } from "vitest";
import { tokenLabel, tokenLabels } from "../../../../backend/models/tokenizers/labels.ts";

/** A vocabulary of spellings; texts are what their bytes decode to alone. */
function tokenizerOf(spellings: readonly string[], texts: Readonly<Record<string, string>> = {}) {
  return {
    spelling: (id: number) => spellings[id],
    token: (id: number) =>
      texts[spellings[id]!] ??
      (/^[ -~]+$/.test(spellings[id]!) && !spellings[id]!.startsWith("<0x") ? spellings[id]! : "\ufffd"),
  };
}

describe("labels of tokens", () => {
  test("that are bytes of a character are the character and their place in it", () => {
    // E8 8C B6 is the tea of Chinese, in byte-level spelling and in that of vocabularies that fall back to bytes.
    expect(tokenLabels(tokenizerOf(["a", "è", "Į", "¶", "b"]), [0, 1, 2, 3, 4])).toEqual([
      "a",
      "茶(1/3)",
      "茶(2/3)",
      "茶(3/3)",
      "b",
    ]);
    expect(tokenLabels(tokenizerOf(["<0xE8>", "<0x8C>", "<0xB6>"]), [0, 1, 2])).toEqual([
      "茶(1/3)",
      "茶(2/3)",
      "茶(3/3)",
    ]);
    expect(tokenLabels(tokenizerOf(["Ġè", "Į¶"]), [0, 1])).toEqual([" 茶(1/2)", " 茶(2/2)"]);
  });

  test("that make up no character are their bytes", () => {
    expect(tokenLabels(tokenizerOf(["è", "a", "Į"]), [0, 1, 2])).toEqual(["<E8>", "a", "<8C>"]);
    expect(tokenLabels(tokenizerOf(["Ġè", "Į"]), [0, 1])).toEqual([" <E8>", "<8C>"]);
    expect(tokenLabel(tokenizerOf(["Ġè"]), 0)).toBe(" <E8>");
    expect(tokenLabel(tokenizerOf(["<0xF0>"]), 0)).toBe("<F0>");
  });

  test("of whole characters are their texts, also that of U+FFFD itself", () => {
    const texts = { "ï¿½": "\ufffd", ĠFrance: " France" };
    expect(tokenLabels(tokenizerOf(["ï¿½", "ĠFrance"], texts), [0, 1])).toEqual(["\ufffd", " France"]);
  });
});
