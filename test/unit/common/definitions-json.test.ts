import { describe, expect, test } from "vitest";
import { formatJson, jsonErrorOffset, parseJson, readJson } from "../../../backend/json.ts";

describe("where a text stops being JSON", () => {
  test.each([
    ['{"a": [1, 2,, 3]}', 12],
    ['{"a": NaN}', 6],
    ['{"a": 1', 7],
    ["[1, 2", 5],
    ["", 0],
    ["[1] x", 4],
    ['{"a" 1}', 5],
    ["{a: 1}", 1],
    ["[1,]", 3],
    ['{"a": 1,}', 8],
    ["[01]", 1],
    ["[1.]", 1],
    ['["a\nb"]', 1],
    ['["\\x"]', 1],
    ["]", 0],
    ["[}", 1],
    ["[true, nul]", 7],
  ])("%j at %i", (text, offset) => {
    expect(() => JSON.parse(text)).toThrow();
    expect(jsonErrorOffset(text)).toBe(offset);
  });

  test.each(['{"a": [1, -2.5e+3, true, null, "é\\u00e9", {}], "b": []}', " 1 ", "[[]]", '"x"', "-0"])(
    "nowhere in %s",
    (text) => {
      JSON.parse(text);
      expect(jsonErrorOffset(text)).toBeUndefined();
    },
  );

  test("also in text nested deeper than a call stack", () => {
    expect(jsonErrorOffset("[".repeat(1_000_000))).toBe(1_000_000);
  });
});

test("the error names file, line, column, what stands there, and the remedy for NaN", () => {
  expect(() => parseJson('{\n  "a": [1, NaN]\n}', "scores.json")).toThrow(
    expect.objectContaining({
      kind: "input",
      line: 'scores.json is not JSON at line 2, column 12 (character 13): found "NaN]"; JSON has no NaN or infinity: give finite numbers',
    }),
  );
  expect(() => parseJson("[1", "x.json")).toThrow(
    "x.json is not JSON at line 1, column 3 (character 2): the text ends too early",
  );
});

test("a file that is not there or is a folder is named", async () => {
  await expect(readJson("/nowhere/x.json", "scores file")).rejects.toMatchObject({
    kind: "missing",
    message: "there is no scores file /nowhere/x.json",
  });
  await expect(readJson(import.meta.dirname, "mask file")).rejects.toMatchObject({ kind: "input" });
});

test("files are laid out with one line a row, and read back the same", () => {
  const value = {
    a: [
      [1, 2],
      [3.5, -0.25],
    ],
    b: { c: "x", d: [] as string[] },
    e: {},
    f: null,
    g: undefined,
    h: [{ i: 1 }],
  };
  const text = formatJson(value);
  expect(text).toBe(
    '{\n  "a": [\n    [1, 2],\n    [3.5, -0.25]\n  ],\n  "b": {\n    "c": "x",\n    "d": []\n  },\n  "e": {},\n  "f": null,\n  "h": [\n    {\n      "i": 1\n    }\n  ]\n}',
  );
  expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
});
