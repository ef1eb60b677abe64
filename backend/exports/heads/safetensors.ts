import { z } from "zod";
import type { HeadMask } from "../../common/heads/mask.ts";
import type { HeadScores } from "../../common/heads/scores.ts";
import { floatBytes, layoutSafetensors } from "../checkpoints/safetensors-header.ts";
import type { Exporter } from "../export.ts";
import { writeFile } from "../folder.ts";
import { headTables } from "./tables.ts";

const parameters = z.object({});

/** A safetensors file of head masks or scores. */
export const safetensors: Exporter<typeof parameters> = {
  name: "safetensors",
  title: "safetensors file",
  description:
    "From a mask: head_mask [layers, heads] (1 keep, 0 ablate) and kv_head_mask [layers, kvHeads] (1 full attention, " +
    "0 streaming). From scores: one tensor a metric. All float32; model, sink, recent and source are text metadata.",
  source: "huggingface/safetensors",
  parameters,
  from: ["scores", "mask"],
  needsCheckpoint: false,
  output: "file",
  write: ({ scores, mask }, path) => writeFile(path, () => fileOf((scores ?? mask)!)),
};

function fileOf(document: HeadScores | HeadMask): Uint8Array[] {
  const tensors = headTables(document).map(({ name, values }) => {
    return { name, shape: [values.length, values[0]!.length], data: Float32Array.from(values.flat()) };
  });
  const { header } = layoutSafetensors(tensors, describe(document));
  return [header, ...tensors.map(({ data }) => floatBytes(data))];
}

/** Everything but the tables, as the text that safetensors metadata must be. */
function describe(document: HeadScores | HeadMask): Record<string, string> {
  const { ref, digest, layers, heads, kvHeads } = document.model;
  const facts: Record<string, unknown> = {
    format: document.format,
    model: ref,
    digest,
    layers,
    heads,
    kvHeads,
    ...("metrics" in document
      ? { probe: document.probe, params: document.params, tokens: document.tokens, seed: document.seed }
      : { sink: document.sink, recent: document.recent, source: document.source }),
  };
  return Object.fromEntries(
    Object.entries(facts)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
  );
}
