import { command, fileLine } from "../../../backend/common/command-line.ts";
import type { MetricName } from "../../../backend/common/metrics.ts";
import type { TextPart } from "../../../backend/common/texts/parts.ts";
import type { Rows } from "./interventions/interventions.ts";

/** Model, input and heads of the page's command lines. */
export interface Setting {
  readonly model: string;
  /** A text, or rows of token ids, which go by a file. */
  readonly input: { readonly text: string; readonly bos: "auto" | "on" | "off" } | { readonly tokens: Rows };
  readonly heads: readonly string[];
}

/** The method by which heads are taken out, with its control. */
export interface AblationWay {
  readonly method: string;
  readonly byPosition: boolean;
  readonly controls: number;
  readonly seed: number;
  /** Reference rows, which go by a file; none for zero. */
  readonly reference: Rows;
}

/** The part of the text that the numbers are of. */
export interface CommandPart {
  readonly over: TextPart;
  /** Position of the held token, where the part is about one. */
  readonly position?: number | undefined;
  /** Of an answer: the token, where it is not the one that stands there, the wrong one in its place, and the metric. */
  readonly answer?: number | undefined;
  readonly wrong?: number | undefined;
  readonly metric?: MetricName | undefined;
}

/** The line that measures the same numbers; it writes the files that it needs first. @param part default all */
export function lossCommand(
  setting: Setting,
  { method, byPosition, controls, seed, reference }: AblationWay,
  { over, position, answer, wrong, metric }: CommandPart = { over: "all" },
): string {
  const line = command(["ablate"], {
    model: setting.model,
    heads: setting.heads.join(","),
    ...inputOptions(setting.input),
    method,
    "by-position": byPosition,
    "reference-file": reference.length === 0 ? undefined : "reference.json",
    controls: controls === 5 ? undefined : controls,
    seed: seed === 0 ? undefined : seed,
    over: over === "all" ? undefined : over,
    position,
    answer,
    wrong,
    metric: metric === "logit-diff" ? undefined : metric,
  });
  const files = reference.length === 0 ? [] : [fileLine("reference.json", reference)];
  return [...tokenFiles(setting.input), ...files, line].join(" && ");
}

/** The line that writes the same continuation; it writes the file that it needs first. */
export function continuationCommand(setting: Setting, maxTokens: number): string {
  const line = command(["generate"], {
    model: setting.model,
    ...inputOptions(setting.input),
    "max-tokens": maxTokens,
    ablate: setting.heads.length === 0 ? undefined : setting.heads.join(","),
  });
  return [...tokenFiles(setting.input), line].join(" && ");
}

function tokenFiles(input: Setting["input"]): string[] {
  return "tokens" in input ? [fileLine("tokens.json", input.tokens)] : [];
}

function inputOptions(input: Setting["input"]): Record<string, string | boolean> {
  if ("tokens" in input) return { "tokens-file": "tokens.json" };
  return { text: input.text, "prepend-bos": input.bos === "on", "no-prepend-bos": input.bos === "off" };
}
