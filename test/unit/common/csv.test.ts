import { expect, test } from "vitest";
import { csvText } from "../../../backend/common/csv.ts";

/** Cells of a line of CSV, as a reader of RFC 4180 has them. */
function cells(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)].map(([, quoted, plain]) =>
    quoted === undefined ? plain! : quoted.replaceAll('""', '"'),
  );
}

test.each(["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', "-a"])(
  "text that begins like a formula stays text in a spreadsheet, in a heading as well: %j",
  (text) => {
    const [heading, row] = csvText([
      ["step", text],
      [1, text],
    ]).split(/\n/) as [string, string];
    expect(cells(heading)[1]).toBe(`'${text}`);
    expect(cells(row)[1]).toBe(`'${text}`);
  },
);

test("numbers are numbers, as values and as text", () => {
  expect(csvText([[-1.5, 1e-9, Number.NaN, "-0.5", "+2", "-1e-7"]])).toBe("-1.5,1e-9,NaN,-0.5,+2,-1e-7\n");
});

test("other text is as it was, quoted where its characters part cells in some program", () => {
  expect(csvText([["a=b", "x;=1+1", 'a "b"', "l\n"]])).toBe('a=b,"x;=1+1","a ""b""","l\n"\n');
});
