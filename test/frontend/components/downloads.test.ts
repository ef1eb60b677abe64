import { describe, expect, it } from "vitest";
import { fileName, tableCsv } from "../../../frontend/src/components/card/files.ts";

describe("downloads", () => {
  it("are named by the card", () => {
    expect(fileName("Pattern of 5.3, by value", "csv")).toBe("headscope-pattern-of-5.3-by-value.csv");
    expect(fileName("«»", "png")).toBe("headscope-data.png");
  });

  it("are CSV as RFC 4180 has it", () => {
    const rows = [
      ["5.3", 0.1 + 0.2],
      ['say "a, b"\n', Number.NaN],
    ];
    expect(tableCsv({ columns: ["head", "value"], rows })).toBe(
      'head,value\r\n5.3,0.30000000000000004\r\n"say ""a, b""\n",\r\n',
    );
  });
});
