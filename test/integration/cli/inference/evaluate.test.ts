import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { commandFolder } from "../../../helpers/cli.ts";
import { headscope } from "../../../helpers/headscope.ts";

const { at } = commandFolder();

/** Runs `headscope evaluate` on a model that is not there: what is refused before it is looked for needs none. */
const run = (changes: Record<string, string>, model = at("none.gguf")) => {
  const options = { policy: "snapkv", tasks: "multi-key", lengths: "512", out: at("out"), ...changes };
  return headscope([
    "evaluate",
    "--model",
    model,
    ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]),
  ]);
};

describe("headscope evaluate refuses before a model is loaded", () => {
  const cases: [string, Record<string, string>, number, string][] = [
    ["an unknown policy", { policy: "snapvk" }, 2, 'unknown policy "snapvk"; did you mean snapkv'],
    ["an unknown task", { tasks: "multi-keys" }, 2, 'unknown context task "multi-keys"; did you mean multi-key'],
    ["a budget out of range", { budget: "1.5" }, 2, "budgets cannot be [1.5]"],
    [
      "a budget below what stays anyway",
      { budget: "32" },
      2,
      "a budget of 32 tokens is below the 64 that snapkv keeps anyway",
    ],
    ["no cases", { cases: "0" }, 2, '--cases cannot be "0"'],
    ["a length that is no whole number", { lengths: "512,1.5" }, 2, '--lengths cannot be "1.5"'],
    ["a mask that is not there", { policy: "duo-attention", param: "mask=none.json" }, 1, "none.json"],
    [
      "a parameter of nobody",
      { policy: "snapkv,tova", param: "ratio=0.5" },
      2,
      "parameter ratio does not say whose it is",
    ],
    ["two policies for the same", { policy: "snapkv+tova" }, 2, "snapkv and tova can't go together"],
  ];
  it.each(cases)("%s", async (_, changes, code, message) => {
    const { code: ended, stderr } = await run(changes);
    expect(stderr).toContain(message);
    expect(ended).toBe(code);
    expect(existsSync(at("out"))).toBe(false);
  });

  it("prompts beyond the context", async () => {
    const { code, stderr } = await run({ lengths: "9000" }, "toy-induction");
    expect(stderr).toMatch(/multi-key: prompts of 9,000 tokens and \d+ tokens of an answer exceed the context of \d+/);
    expect(code).toBe(1);
    expect(existsSync(at("out"))).toBe(false);
  });
});

it("headscope evaluate needs a model with a tokenizer", async () => {
  const { code, stderr } = await run({ lengths: "40", policy: "knorm" }, "toy-induction");
  expect(stderr).toContain("toy-induction has no tokenizer");
  expect(code).toBe(1);
});
