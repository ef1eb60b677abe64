import { describe, expect, test } from "vitest";
import { z } from "zod";
import { type Definition, readPairs, registry } from "../../../backend/common/definitions/definition.ts";
import { HeadscopeError } from "../../../backend/common/errors.ts";

const induction: Definition = {
  name: "induction",
  title: "Induction",
  description: "A probe for tests.",
  source: "none",
  parameters: z.object({
    length: z.int().min(1).max(4096).default(50).describe("length of r, in tokens"),
    epsilon: z.number().gt(0).lt(1).default(0.3).describe("share of attention"),
    cached: z.boolean().default(false).describe("keep the patterns"),
    method: z.enum(["zero", "mean"]).default("zero").describe("what replaces a head"),
    depths: z.array(z.number().min(0).max(1)).min(1).default([0.5]).describe("depths, as shares of the length"),
    stop: z
      .union([z.literal("none"), z.int().min(0)])
      .default("none")
      .describe("stop token id"),
    label: z.string().optional().describe("a note"),
  }),
};
const sink: Definition = { ...induction, name: "attention-sink", parameters: z.object({}) };
const probes = registry("probe", [induction, sink]);

/** The error's line as the user reads it. */
function line(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(HeadscopeError);
    expect((error as HeadscopeError).exitCode).toBe(2);
    return (error as HeadscopeError).line;
  }
  throw new Error("nothing was thrown");
}

describe("a registry", () => {
  test("lists and finds definitions by name", () => {
    expect(probes.names()).toEqual(["induction", "attention-sink"]);
    expect(probes.get("induction")).toBe(induction);
    expect(probes.list()).toHaveLength(2);
  });

  test("answers an unknown name with the nearest", () => {
    expect(line(() => probes.get("inductoin"))).toBe(
      'unknown probe "inductoin"; did you mean induction, attention-sink?',
    );
    expect(line(() => probes.get("constructor"))).toContain('unknown probe "constructor"');
  });

  test("refuses two definitions of one name", () => {
    expect(() => registry("probe", [induction, induction])).toThrow("share a name");
  });

  test("gives each definition's JSON Schema", () => {
    const { induction: schema } = probes.schemas();
    expect(schema).toMatchObject({
      type: "object",
      properties: {
        length: { type: "integer", minimum: 1, maximum: 4096, default: 50, description: "length of r, in tokens" },
        method: { enum: ["zero", "mean"] },
      },
    });
    expect(schema!.required).toBeUndefined();
  });

  test("describes parameters for help", () => {
    expect(probes.flags("induction")).toEqual([
      { name: "length", type: "integer", default: 50, description: "length of r, in tokens", range: "from 1 to 4096" },
      { name: "epsilon", type: "number", default: 0.3, description: "share of attention", range: "above 0, below 1" },
      { name: "cached", type: "true or false", default: false, description: "keep the patterns", range: "" },
      { name: "method", type: "zero | mean", default: "zero", description: "what replaces a head", range: "" },
      {
        name: "depths",
        type: "list of numbers",
        default: [0.5],
        description: "depths, as shares of the length",
        range: "from 0 to 1, at least 1 of them",
      },
      { name: "stop", type: "none or integer", default: "none", description: "stop token id", range: "" },
      { name: "label", type: "text", description: "a note", range: "" },
    ]);
    expect(probes.flags("attention-sink")).toEqual([]);
  });
});

describe("parameters", () => {
  test("defaults fill what is left out", () => {
    expect(probes.parse("induction")).toEqual({
      length: 50,
      epsilon: 0.3,
      cached: false,
      method: "zero",
      depths: [0.5],
      stop: "none",
    });
  });

  test("text becomes what the schema asks for", () => {
    const text = {
      length: "20",
      epsilon: "1e-1",
      cached: "yes",
      method: "mean",
      depths: "0.1, 0.9",
      stop: "2",
      label: "7",
    };
    expect(probes.parse("induction", text)).toEqual({
      length: 20,
      epsilon: 0.1,
      cached: true,
      method: "mean",
      depths: [0.1, 0.9],
      stop: 2,
      label: "7",
    });
    expect(probes.parse("induction", { depths: "[0, 1]", stop: "none" })).toMatchObject({
      depths: [0, 1],
      stop: "none",
    });
  });

  test("values of the right type pass as they are, and undefined counts as left out", () => {
    expect(probes.parse("induction", { length: 3, label: undefined })).toMatchObject({ length: 3 });
  });

  test.each([
    [{ lenght: "3" }, 'unknown parameter "lenght" of probe induction; did you mean length'],
    [{ __proto__x: 1 }, 'unknown parameter "__proto__x" of probe induction'],
    [
      { length: "5000" },
      'parameter length of probe induction cannot be "5000"; give integer from 1 to 4096 (length of r, in tokens)',
    ],
    [{ length: "1.5" }, 'cannot be "1.5"; give integer from 1 to 4096'],
    [{ length: "" }, 'parameter length of probe induction cannot be ""'],
    [{ length: "0x10" }, 'cannot be "0x10"'],
    [{ length: true }, "cannot be true"],
    [{ epsilon: Number.NaN }, "parameter epsilon of probe induction cannot be NaN; give number above 0, below 1"],
    [{ cached: "perhaps" }, 'cannot be "perhaps"; give true or false'],
    [{ method: "median" }, 'cannot be "median"; give zero | mean'],
    [{ depths: "0.5,2" }, 'cannot be "0.5,2"; give list of numbers from 0 to 1, at least 1 of them'],
    [{ depths: "" }, 'parameter depths of probe induction cannot be ""'],
  ])("%j is refused with the reason", (raw, message) => {
    expect(line(() => probes.parse("induction", raw))).toContain(message);
  });

  test("a definition without parameters says so", () => {
    expect(line(() => probes.parse("attention-sink", { length: 3 }))).toBe(
      'unknown parameter "length" of probe attention-sink; it takes none: leave it out',
    );
  });

  test("one that is needed is asked for", () => {
    const needy = registry("task", [{ ...induction, parameters: z.object({ file: z.string().describe("a path") }) }]);
    expect(line(() => needy.parse("induction"))).toBe("task induction needs parameter file; give text (a path)");
  });

  test("a rule over several parameters speaks for itself", () => {
    const parameters = z.object({ a: z.int().default(1).describe("a"), b: z.int().default(2).describe("b") });
    const rule = registry("task", [
      { ...induction, parameters: parameters.refine(({ a, b }) => a < b, "a must be below b") },
    ]);
    expect(line(() => rule.parse("induction", { a: "3" }))).toContain(
      "parameters of task induction: a must be below b",
    );
  });
});

describe("k=v arguments", () => {
  test("split at the first equals sign", () => {
    expect(readPairs(["a=1", "b=x=y", "c="])).toEqual({ a: "1", b: "x=y", c: "" });
  });
  test("without one, or twice, are refused", () => {
    expect(line(() => readPairs(["a"]))).toBe('"a" is not a parameter; write it as name=value');
    expect(line(() => readPairs(["=1"]))).toContain("not a parameter");
    expect(line(() => readPairs(["a=1", "a=2"]))).toContain("given twice");
  });
});
