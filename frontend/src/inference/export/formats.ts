import type { Definitions } from "../../../../backend/common/api/definitions.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import type { HeadScores } from "../../../../backend/common/heads/scores.ts";

export type ExportFormat = Definitions["exports"][number];
export type From = "scores" | "mask";

/** Scores and mask that the page has to export. */
export interface Present {
  readonly mask: HeadMask | undefined;
  readonly scores: HeadScores | undefined;
  /** Metric of the scores that the page shows. */
  readonly metric: string;
}

/** Why a format cannot take what is there, and what would make it; undefined when it can. */
export function refusal(format: ExportFormat, from: From, { mask, scores, metric }: Present): string | undefined {
  if (!format.from.includes(from)) return `It holds ${format.from.join(" or ")} only.`;
  if (from === "scores") {
    if (scores === undefined) return "There are no scores: choose a score in step 1.";
    const axis = scores.metrics[metric]?.axis;
    if (format.name === "retrieval-head" && axis === "kvHeads")
      return `It is about query heads, and ${metric} scores KV heads: choose another metric in step 1.`;
    return undefined;
  }
  if (mask === undefined) return "There is no mask yet: choose heads in step 1.";
  if (format.name === "duo-attention" && mask.kvHeads === undefined)
    return "It says which KV heads stream, and this mask only ablates query heads.";
  if ((format.name === "hf-prune" || format.name === "pruned-checkpoint") && mask.heads === undefined)
    return "It removes query heads, and this mask streams KV heads: in step 1 take selected heads and ablate them.";
  return undefined;
}

/** The first thing of those that a format takes that it can take now; the first at all where it can take none. */
export function defaultFrom(format: ExportFormat, present: Present): From {
  const byMask = (["mask", "scores"] as const).filter((from) => format.from.includes(from));
  return byMask.find((from) => refusal(format, from, present) === undefined) ?? byMask[0] ?? "mask";
}

/** The way in which another program takes a format in: what it is called, and the line with the path in it. */
export interface Use {
  readonly program: string;
  readonly line: (path: string) => string;
}

const text = JSON.stringify;

/** By format; those that people read by eye have none. */
export const USES: Readonly<Record<string, readonly Use[]>> = {
  "duo-attention": [
    {
      program: "DuoAttention",
      line: (path) =>
        [
          `heads, sink, recent = load_attn_pattern(${text(path)})`,
          "heads, sparsity = sparsify_attention_heads(heads, threshold=0.5)",
          "enable_duo_attention_eval(model, heads, sink, recent)",
        ].join("\n"),
    },
  ],
  safetensors: [{ program: "Python", line: (path) => `masks = safetensors.numpy.load_file(${text(path)})` }],
  csv: [{ program: "Python", line: (path) => `heads = pandas.read_csv(${text(path)})` }],
  "retrieval-head": [{ program: "Python", line: (path) => `scores = json.load(open(${text(path)}))` }],
  "hf-prune": [
    {
      program: "transformers before 5",
      line: (path) => `model.prune_heads({int(k): v for k, v in json.load(open(${text(path)})).items()})`,
    },
  ],
  "pruned-checkpoint": [
    { program: "transformers", line: (path) => `model = AutoModelForCausalLM.from_pretrained(${text(path)})` },
    { program: "vLLM", line: (path) => `vllm serve ${text(path)}` },
  ],
};

/** Parameters as a form holds them, with those left at their default or empty left out. */
export function given(values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value.trim() !== ""));
}
