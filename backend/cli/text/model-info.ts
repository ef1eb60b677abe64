import type { ModelConfig } from "../../models/config.ts";
import { inspectModel } from "../../models/load.ts";
import { type Manifest, pulledModel } from "../../models/sources/pull.ts";
import { parseReference } from "../../models/sources/reference.ts";
import type { StopText, StopToken } from "../../models/stops.ts";
import { bytes, count, table } from "./format.ts";

/** Document of `headscope models info`. Sizes in bytes. */
export interface ModelDocument {
  readonly ref: string;
  readonly title: string | undefined;
  readonly licence: string | undefined;
  readonly path: string | undefined;
  readonly source: Manifest["source"] | undefined;
  readonly family: string;
  readonly digest: string;
  readonly config: ModelConfig;
  /** Parts that the model is made of, in words. */
  readonly features: readonly string[];
  readonly parameters: number;
  /** Types in which the checkpoint stores its weights, that of most bytes first. */
  readonly stored: readonly string[];
  /** Weights held in memory with --weights f32, q8 and bf16. */
  readonly bytes: { readonly f32: number; readonly q8: number; readonly bf16: number };
  /** The most that loading and a short forward need at once, the weights included. */
  readonly peakBytes: { readonly f32: number; readonly q8: number; readonly bf16: number };
  readonly tokenizer: {
    readonly bos: number | undefined;
    readonly eos: number | undefined;
    readonly addsBos: boolean;
    /** Ids that the tokenizer puts before a whole text, and behind it. */
    readonly front: readonly number[];
    readonly behind: readonly number[];
    readonly notes: readonly string[];
  } | null;
  /** Fault of the tokenizer that its files hold, where it cannot be used. */
  readonly tokenizerFault: string | undefined;
  /** Tokens and texts (without `id`) at which the model's own files end a generation, and which files say so. */
  readonly stops: readonly (
    | (StopToken & { readonly text: string | undefined })
    | (StopText & { readonly id?: never })
  )[];
  /** Statements of the files that cannot be followed. */
  readonly notes: readonly string[] | undefined;
}

/** Describes a model from its header; no weights are read. */
export async function modelInfo(ref: string): Promise<ModelDocument> {
  const reference = parseReference(ref, "existing");
  const named = reference.kind === "catalogue" ? reference.model : undefined;
  const pulled = named && pulledModel(ref);
  const inspected = await inspectModel(reference);
  const { ref: name, family, digest, config, memory, features, stored, tokenizer, tokenizerFault, stops } = inspected;
  return {
    ref: name,
    title: named?.title,
    licence: named?.licence,
    path: pulled?.path,
    source: pulled?.manifest.source,
    family,
    digest,
    config,
    features,
    parameters: memory.parameters,
    stored,
    bytes: memory.weights,
    peakBytes: memory.peak,
    tokenizer: tokenizer
      ? {
          bos: tokenizer.bos,
          eos: tokenizer.eos,
          addsBos: tokenizer.addsBos,
          front: tokenizer.front,
          behind: tokenizer.behind,
          notes: tokenizer.notes,
        }
      : null,
    tokenizerFault,
    stops: [...stops.tokens.map((stop) => ({ ...stop, text: tokenizer?.token(stop.id) })), ...stops.texts],
    notes: stops.notes.length === 0 ? undefined : stops.notes,
  };
}

/** A model's description for people. */
export function infoText(info: ModelDocument): string {
  const { config } = info;
  const rows = [
    ["model", info.title === undefined ? info.ref : `${info.ref}: ${info.title}`],
    ["family", info.family],
    ...(info.licence === undefined ? [] : [["licence", info.licence]]),
    ...(info.source === undefined
      ? []
      : [["source", `${info.source.package} ${info.source.version}, ${info.source.file}`]]),
    ...(info.path === undefined ? [] : [["file", info.path]]),
    ["digest", info.digest],
    ["parameters", count(info.parameters)],
    ["stored as", info.stored.join(", ")],
    ["memory", sizes(info.bytes)],
    ["to load", sizes(info.peakBytes)],
    ["heads", `${config.n_layers} layers of ${config.n_heads} query heads and ${config.n_key_value_heads} KV heads`],
    ["widths", `d_model ${config.d_model}, d_head ${config.d_head}, d_mlp ${config.d_mlp}`],
    ["features", info.features.join(", ")],
    ["context", `${count(config.n_ctx)} tokens`],
    ["vocabulary", `${count(config.d_vocab)} ids`],
    ["tokenizer", tokenizerText(info)],
    ...(info.tokenizer?.notes ?? []).map((note) => ["", note]),
    ["stops", info.stops.length === 0 ? "none" : info.stops.map(stopText).join(", ")],
    ...(info.notes ?? []).map((note) => ["note", note]),
  ];
  return table(["", ""], rows);
}

function stopText({ id, text, sources }: ModelDocument["stops"][number]): string {
  const words = [...(id === undefined ? [] : [id]), ...(text === undefined ? [] : [JSON.stringify(text)])];
  return `${words.join(" ")} (${sources.join(", ")})`;
}

/** The tokenizer in words: "BOS 1 in front, 2 behind, end 2". */
function tokenizerText({ tokenizer, tokenizerFault: fault }: ModelDocument): string {
  if (tokenizer === null) return `${fault === undefined ? "none" : `cannot be used (${fault})`}: give token ids`;
  const { bos, eos, front, behind } = tokenizer;
  const named = (ids: readonly number[]) => ids.map((id) => (id === bos ? `BOS ${id}` : String(id))).join(" ");
  return [
    ...(bos === undefined ? ["no BOS"] : front.includes(bos) ? [] : [`BOS ${bos}`]),
    ...(front.length === 0 ? [] : [`${named(front)} in front`]),
    ...(behind.length === 0 ? [] : [`${named(behind)} behind`]),
    `end ${eos ?? "none"}`,
  ].join(", ");
}

function sizes({ f32, q8, bf16 }: ModelDocument["bytes"]): string {
  return `${bytes(f32)} in f32, ${bytes(bf16)} with --weights bf16, ${bytes(q8)} with q8`;
}
