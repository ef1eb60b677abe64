import { type Registry, registry } from "../common/definitions/definition.ts";
import { HeadscopeError } from "../common/errors.ts";
import type { HeadMask } from "../common/heads/mask.ts";
import { meaningOf } from "../common/heads/meaning.ts";
import { hfPrune } from "./checkpoints/hf-prune.ts";
import { prunedCheckpoint } from "./checkpoints/pruned-checkpoint.ts";
import {
  EXPORTED,
  type Exporter,
  type ExportInput,
  type ExportOptions,
  type Importer,
  type ScoresImporter,
  type Written,
} from "./export.ts";
import { csv } from "./heads/csv.ts";
import { duoAttention, duoAttentionImport } from "./heads/duo-attention.ts";
import { minference, minferenceImport } from "./heads/minference.ts";
import { qwen1m } from "./heads/qwen-1m.ts";
import { headKvImport, retrievalHead, retrievalHeadImport } from "./heads/retrieval-head.ts";
import { safetensors } from "./heads/safetensors.ts";

/** Every format that headscope writes. */
export const exporters: Registry<Exporter> = registry<Exporter>("export", [
  duoAttention,
  retrievalHead,
  safetensors,
  csv,
  minference,
  qwen1m,
  hfPrune,
  prunedCheckpoint,
]);

/** Every format that headscope reads. */
export const importers: Registry<Importer> = registry<Importer>("import", [
  duoAttentionImport,
  retrievalHeadImport,
  headKvImport,
  minferenceImport,
]);

/**
 * A format that becomes head scores.
 * @throws HeadscopeError `usage` for an unknown format, and for one that becomes something else
 */
export function scoresImporter(name: string): ScoresImporter {
  const importer = importers.get(name);
  if (importer.gives === "scores") return importer;
  const known = importers.list().filter(({ gives }) => gives === "scores");
  throw new HeadscopeError("usage", `${name} holds ${importer.gives}, not scores`, {
    remedy: `give ${known.map(({ name }) => name).join(" or ")}, or read it with headscope import`,
    field: "format",
  });
}

/**
 * The half of a mask that a format can't say, in a sentence; undefined where it says all there is.
 * @param name format, such as "duo-attention"
 */
export function leftOut(name: string, mask: HeadMask): string | undefined {
  const { leavesOut } = exporters.get(name);
  const { streaming, ablated } = meaningOf(mask);
  if (leavesOut === "ablated" && ablated.length > 0)
    return `the mask also ablates ${ablated.length} query heads, which ${name} has no words for: pruned-checkpoint does`;
  if (leavesOut === "streaming" && streaming.length > 0)
    return `the mask also has ${streaming.length} streaming KV heads, which ${name} has no words for: duo-attention does`;
  return undefined;
}

/**
 * Writes scores, a mask or sparse patterns in a foreign format, whole or not at all.
 * @param name format, such as "duo-attention"
 * @param path the file or folder to make; a file is replaced, a folder only with `force`
 * @param raw the format's parameters, as text or values
 * @throws HeadscopeError `usage` for an unknown format or parameter, or a document that the format cannot hold
 */
export async function exportHeads(
  name: string,
  input: ExportInput,
  path: string,
  raw: Readonly<Record<string, unknown>> = {},
  options: ExportOptions = {},
): Promise<Written> {
  const exporter = exporters.get(name);
  const parameters = exporters.parse(name, raw);
  const documents = EXPORTED.filter((kind) => input[kind] !== undefined);
  const [kind] = documents;
  if (kind === undefined || documents.length > 1 || !exporter.from.includes(kind)) {
    const what = documents.length === 0 ? "nothing" : documents.join(" and ");
    throw new HeadscopeError("usage", `export ${name} was given ${what}`, {
      remedy: `give ${exporter.from.map((from) => `--${from}`).join(" or ")}`,
    });
  }
  if (exporter.needsCheckpoint && input.checkpoint === undefined)
    throw new HeadscopeError("usage", `export ${name} needs the model's weights`, { remedy: "give --model" });
  return exporter.write(input, path, parameters, options);
}

export type {
  CheckpointInput,
  Exporter,
  ExportInput,
  ExportOptions,
  Importer,
  NamedTensor,
  Written,
} from "./export.ts";
