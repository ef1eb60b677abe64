import { expect, test } from "vitest";
import { importsOf, violations } from "../../../backend/setup/check/layers.mjs";

test("imports are found in all their forms, not in doc comments", () => {
  const text = [
    'import { a } from "./a.ts";',
    'import type { B } from "./b.ts";',
    "export {",
    "  c,",
    '} from "./c.ts";',
    'import "./d.ts";',
    'const e = await import("./e.ts");',
    '/** @type {import("./f.ts").F} */',
    'import { g } from "package";',
  ].join("\n");
  expect(importsOf(text)).toEqual([
    { target: "./a.ts", typeOnly: false, line: 1 },
    { target: "./b.ts", typeOnly: true, line: 2 },
    { target: "./c.ts", typeOnly: false, line: 3 },
    { target: "./d.ts", typeOnly: false, line: 6 },
    { target: "./e.ts", typeOnly: false, line: 7 },
  ]);
});

test("imports go one way", () => {
  const wrong = (path: string, from: string, type = "") =>
    violations(path, `import ${type}{ x } from "${from}";`).length;
  expect(wrong("backend/models/load.ts", "../runtime/tf.ts")).toBe(0);
  expect(wrong("backend/runtime/tf.ts", "../models/load.ts")).toBe(1);
  expect(wrong("probes/induction.ts", "../backend/common/heads/scores.ts")).toBe(0);
  expect(wrong("backend/common/heads/scores.ts", "../definitions/definition.ts")).toBe(0);
  expect(wrong("backend/common/heads/scores.ts", "../../../probes/induction.ts")).toBe(1);
  expect(wrong("backend/inference/generate.ts", "../circuits/patch.ts")).toBe(1);
  expect(wrong("backend/cli/main.ts", "../exports/csv.ts")).toBe(0);
  expect(wrong("backend/exports/heads/csv.ts", "../../files.ts")).toBe(0);
  expect(wrong("backend/common/errors.ts", "../runtime/tf.ts")).toBe(1);
  expect(wrong("frontend/page.ts", "../backend/heads/files.ts")).toBe(1);
  expect(wrong("frontend/page.ts", "../backend/heads/files.ts", "type ")).toBe(0);
  expect(wrong("frontend/page.ts", "../backend/common/rise.ts")).toBe(0);
  expect(wrong("backend/store/jobs.ts", "../common/rise.ts")).toBe(0);
  expect(wrong("backend/common/rise.ts", "./marks.ts")).toBe(0);
  expect(wrong("backend/common/rise.ts", "../files.ts")).toBe(1);
  expect(wrong("backend/new-part/x.ts", "./y.ts")).toBe(1);
});
