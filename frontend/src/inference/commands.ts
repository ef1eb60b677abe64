import type { GenerateRequest } from "../../../backend/common/api/generation.ts";
import { command, dataFile, parameterPairs, promptCommand } from "../../../backend/common/command-line.ts";
import type { JobRequest } from "../../../backend/jobs/kinds/index.ts";
import type { ExportFormat, From } from "./export/formats.ts";
import { type MaskFile, withMask } from "./mask/choice.ts";
import { stopFlag } from "./text/stops.ts";

/** A mask as the terminal needs it. */
export interface Masking {
  /** True if KV heads stream: the mask's file is needed then. */
  readonly streams: boolean;
  readonly file: MaskFile;
  /** Query heads, LAYER.HEAD. */
  readonly ablated: readonly string[];
}

/** The lines that give the masked continuation in the terminal; the other side is the last line without its mask or heads. */
export function generateCommand(
  request: GenerateRequest,
  masking: Masking | undefined,
  { prefill, policies }: Held,
): string {
  const { streams, file, ablated } = masking ?? { streams: false, ablated: [] };
  const options = {
    chat: request.chat,
    "max-tokens": request.maxTokens,
    temperature: request.temperature || undefined,
    seed: request.seed || undefined,
    stop: request.stop?.map(stopFlag),
    ablate: ablated.length > 0 ? ablated.join(",") : undefined,
  };
  const dense = prefill === "dense" ? { prefill } : {};
  const generate = (mask?: string) => {
    if (policies.length === 0)
      return promptCommand("generate", request, { ...options, mask, param: parameterPairs(mask ? dense : {}) }, "\n");
    return promptCommand("generate", request, { ...options, ...heldFlags(mask, { prefill, policies }, true) }, "\n");
  };
  return streams ? withMask(file!, generate) : generate();
}

/** Settings of a needle test. */
export interface NeedleAsk {
  readonly model: string;
  readonly lengths: readonly number[];
  readonly depths: readonly number[];
  readonly needles: number;
  readonly maxTokens: number;
  readonly seed: number;
}

export function needleCommand(
  { model, lengths, depths, needles, maxTokens, seed }: NeedleAsk,
  file: MaskFile | undefined,
  { prefill, policies }: Held = { prefill: "masked", policies: [] },
): string {
  const line = (mask?: string) =>
    command(["needle"], {
      model,
      ...heldFlags(mask, { prefill, policies }, prefill === "dense"),
      lengths: lengths.join(","),
      depths: depths.join(","),
      needles,
      "max-tokens": maxTokens,
      seed: seed || undefined,
    });
  return file ? withMask(file, line) : line();
}

/** A choice of what is held beside a mask, and the reach of the mask's windows. */
export interface Held {
  readonly prefill: "masked" | "dense";
  readonly policies: NonNullable<GenerateRequest["policies"]>;
}

/** Flags of a mask and of policies. @param asPolicy true where the mask is to be one too: a bare parameter would not say whose it is */
function heldFlags(mask: string | undefined, { prefill, policies }: Held, asPolicy: boolean) {
  if (policies.length === 0 && !asPolicy) return { mask };
  const dense = prefill === "dense" ? { prefill } : {};
  const all = [...(mask === undefined ? [] : [{ name: "duo-attention", params: { mask, ...dense } }]), ...policies];
  const param = all.flatMap(({ name, params = {} }) => parameterPairs(params).map((pair) => `${name}.${pair}`));
  return { policy: all.map(({ name }) => name).join(",") || undefined, param };
}

/** The line that finds the smallest mask that answers. */
export function searchCommand(request: Omit<Extract<JobRequest, { kind: "mask-search" }>, "kind" | "model">): string {
  const { scores, metric, sink, recent, lengths } = request;
  const options = {
    scores: dataFile(scores),
    metric,
    smallest: true,
    lengths: lengths.join(","),
    sink,
    recent,
    out: "mask.json",
  };
  return command(["mask"], options);
}

/** The line that measures policies on tasks. */
export function evaluateCommand(request: Omit<Extract<JobRequest, { kind: "evaluate" }>, "kind">): string {
  const { model, policies, budgets, tasks, lengths, cases, mode, seed } = request;
  const all = policies.flat();
  return command(["evaluate"], {
    model,
    policy: policies.map((together) => together.map(({ name }) => name).join("+")).join(","),
    budget: budgets?.join(","),
    tasks: tasks.map(({ name }) => name).join(","),
    lengths: lengths.join(","),
    cases,
    mode: mode === "single" ? undefined : mode,
    seed: seed || undefined,
    param: all.flatMap(({ name, params = {} }) => parameterPairs(params).map((pair) => `${name}.${pair}`)),
    out: "evaluation",
  });
}

/** Contents of an export. */
export interface ExportAsk {
  readonly format: ExportFormat;
  readonly from: From;
  readonly model: string;
  /** Id of the score document. */
  readonly scores: string;
  readonly params: Readonly<Record<string, string>>;
}

/** Ablated heads that are in no file are named; anything else comes from a file. */
export function exportHeadsCommand(
  { format, from, model, scores, params }: ExportAsk,
  { streams, file, ablated }: Masking,
): string {
  const extension = format.name === "safetensors" || format.name === "csv" ? format.name : "json";
  const named = from === "mask" && !streams && file.make !== undefined;
  const options = {
    param: Object.entries(params).map(([name, value]) => `${name}=${value}`),
    model: format.needsCheckpoint || named ? model : undefined,
    out: format.output === "folder" ? format.name : `heads.${extension}`,
  };
  const words = ["export", format.name];
  if (from === "scores") return command(words, { scores: dataFile(scores), ...options });
  if (named) return command(words, { heads: ablated.join(","), ...options });
  return withMask(file, (mask) => command(words, { mask, ...options }));
}
