import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { command, parameterPairs, quote } from "../../../backend/common/command-line.ts";

/** What a shell makes of a command line: its words. */
function words(line: string): string[] {
  const script = `for word in ${line.replace(/^npx headscope /, "")}; do printf '%s\\0' "$word"; done`;
  return execFileSync("sh", ["-c", script], { encoding: "utf8" }).split("\0").slice(0, -1);
}

describe("a command line", () => {
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

  it("writes parameters as --param reads them", () => {
    expect(parameterPairs({ steps: 300, depths: [0.1, 0.5], window: null, named: { a: 1 } })).toEqual([
      "steps=300",
      "depths=0.1,0.5",
      "window=null",
      'named={"a":1}',
    ]);
  });
});
