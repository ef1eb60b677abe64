import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { filesBelow } from "../../../backend/setup/files.mjs";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const SOURCES = ["backend", "probes", "synthetic-tasks", "experiments", "frontend/src"]
  .flatMap((folder) => filesBelow(join(ROOT, folder), [".ts", ".svelte"]))
  .map((path) => ({ path: relative(ROOT, path).replaceAll("\\", "/"), text: readFileSync(path, "utf8") }));

/** Things that were once written several times, by what only their one home needs to hold. */
const HOMES: readonly [what: string, mark: RegExp, home: string][] = [
  ["the ablation methods", /"zero",\s*"mean",\s*"resample"/, "backend/common/words.ts"],
  ["the rules of selection", /"top",\s*"quantile",\s*"threshold"/, "backend/common/words.ts"],
  ["the statuses of an end", /"done",\s*"failed",\s*"cancelled"/, "backend/common/words.ts"],
  ["the weight types", /"f32",\s*"q8",\s*"bf16"/, "backend/common/words.ts"],
  ["the forms of a cache", /"f32",\s*"f16",\s*"q8",\s*"q4"/, "backend/common/words.ts"],
  ["the weight processing", /"fold_ln",\s*"center_writing_weights"/, "backend/common/words.ts"],
  ["the event names", /"job",\s*"run",\s*"metrics"/, "backend/common/words.ts"],
  ["the quoting of shells", /'\\\\''/, "backend/common/command-line.ts"],
  ["the guard against formulas in CSV", /\^\[=\+\\-@/, "backend/common/csv.ts"],
  ["a difference with its sign", /< 0 \? "-" : "\+"/, "backend/common/text.ts"],
  ["the names of heads", /\^\(\\d\+\)\\\.\(\\d\+\)\$/, "backend/common/heads/head.ts"],
  ["the names of heads' measurements", /\\\[\(\\d\+\)\\\.\(\\d\+\)\\\]\$/, "backend/common/heads/head-metric.ts"],
  ["the escapes of XML", /"&lt;",\s*">": "&gt;",\s*'"'/, "backend/common/figures/text.ts"],
  ["the colours of lines", /"#0072b2"/, "backend/common/figures/palette.ts"],
  ["the contrast of WCAG 2", /0\.2126/, "backend/common/figures/palette.ts"],
  ["plotly's heatmaps of reports", /colorscale[,:][\s\S]{0,200}zmin: range/, "backend/common/figures/plotly.ts"],
  ["the check of token ids", /is not a token id`/, "backend/models/tokens.ts"],
  ["the reader of token streams", /stream\("\/api\/generate"/, "frontend/src/api/generation.ts"],
];

test.each(HOMES)("%s have one home", (_, mark, home) => {
  expect(SOURCES.filter(({ text }) => mark.test(text)).map(({ path }) => path)).toEqual([home]);
});
