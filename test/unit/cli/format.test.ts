import { describe, expect, test } from "vitest";
import { bold, bytes, colourful, count, duration, quoted, table } from "../../../backend/cli/text/format.ts";
import { counted } from "../../../backend/common/text.ts";

describe("figures for people", () => {
  test("bytes are rounded to three digits in decimal units", () => {
    expect([0, 512, 999, 1000, 24_880_000, 184_320_000, 1.5e9].map(bytes)).toEqual([
      "0 B",
      "512 B",
      "999 B",
      "1.0 kB",
      "24.9 MB",
      "184 MB",
      "1.5 GB",
    ]);
  });

  test("times are milliseconds below a second", () => {
    expect([3.21, 840.4, 12_400].map(duration)).toEqual(["3.2 ms", "840 ms", "12.4 s"]);
  });

  test("great numbers have commas, and one thing no s", () => {
    expect([count(4012), counted(1, "head"), counted(6, "head")]).toEqual(["4,012", "1 head", "6 heads"]);
  });

  test("a quoted text is one line of at most its width", () => {
    expect(quoted("two\nlines of text", 12)).toBe('"two lines o…"');
  });
});

describe("tables", () => {
  test("columns are as wide as their widest cell, numbers to the right", () => {
    const columns = [{ head: "head" }, { head: "score", align: "right" as const }];
    expect(
      table(columns, [
        ["18.6", "0.9"],
        ["1.0", "0.875"],
      ]).split("\n"),
    ).toEqual(["head  score", "18.6    0.9", "1.0   0.875"]);
  });

  test("without heads there is no head line", () => {
    expect(table([{ head: "" }, { head: "" }], [["a", "b"]], "  ")).toBe("  a  b");
  });
});

describe("colours", () => {
  test("only on a terminal, and not with NO_COLOR", () => {
    expect(colourful({ isTTY: true }, {})).toBe(true);
    expect(colourful({ isTTY: true }, { NO_COLOR: "1" })).toBe(false);
    expect(colourful({ isTTY: true }, { TERM: "dumb" })).toBe(false);
    expect(colourful({}, {})).toBe(false);
    expect(bold("x", false)).toBe("x");
  });
});
