import { describe, expect, test } from "vitest";
import { signed, wrapped } from "../../../backend/common/text.ts";

describe("text for people", () => {
  test("a difference has its sign, and zero a plus", () => {
    expect([signed(0.12345), signed(-2, 1), signed(0, 2)]).toEqual(["+0.123", "-2.0", "+0.00"]);
  });

  test("lines end before the width, and all but the first are indented", () => {
    expect(wrapped(["one", "two", "three", "four"], 9)).toBe("one two\n  three\n  four");
  });

  test("a word that is longer than a line has a line to itself", () => {
    expect(wrapped(["incomprehensible", "a", "b"], 8, "")).toBe("incomprehensible\na b");
  });
});
