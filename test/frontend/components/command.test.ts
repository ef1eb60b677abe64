import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { command, quote } from "../../../frontend/src/command.ts";
import { csvText, fileName } from "../../../frontend/src/components/card/files.ts";

/** What a shell makes of a command line: its words. */
function words(line: string): string[] {
  const script = `for word in ${line.replace(/^npx headscope /, "")}; do printf '%s\\0' "$word"; done`;
  return execFileSync("sh", ["-c", script], { encoding: "utf8" }).split("\0").slice(0, -1);
}

describe("the command behind a card", () => {
  it.each([
    "plain",
    "two words",
    "it's",
    '"quoted"',
    "$HOME `id` $(id)",
    "a;b|c&d>e<f",
    "new\nline",
    "*?[a-z]~",
    "back\\slash",
    "",
    "top:8@.headscope/start/induction.json#induction",
    "héads – ▁",
    "!x",
    "#comment",
  ])("gives the shell the word %j unchanged", (word) => {
    expect(words(quote(word))).toEqual([word]);
  });

  it("leaves out what is not asked, repeats what is given several times", () => {
    const line = command(["probe", "induction"], {
      model: "smollm2-135m",
      json: true,
      seed: undefined,
      verbose: false,
      rows: 0,
      param: ["length=50", "text=it's"],
    });
    expect(line.startsWith("npx headscope probe induction ")).toBe(true);
    expect(words(line)).toEqual([
      "probe",
      "induction",
      "--model",
      "smollm2-135m",
      "--json",
      "--rows",
      "0",
      "--param",
      "length=50",
      "--param",
      "text=it's",
    ]);
  });
});

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
    expect(csvText({ columns: ["head", "value"], rows })).toBe(
      'head,value\r\n5.3,0.30000000000000004\r\n"say ""a, b""\n",\r\n',
    );
  });
});
