import type { z } from "zod";
import type { Definition } from "../common/definitions/definition.ts";
import type { Head } from "../common/heads/head.ts";
import type { HeadMask } from "../common/heads/mask.ts";
import type { HeadModel } from "../common/heads/model.ts";
import type { HeadScores } from "../common/heads/scores.ts";
import type { SparsePatterns } from "../heads/patterns.ts";
import type { ModelConfig } from "../models/config.ts";

/** One tensor of a checkpoint under its Hugging Face name, row-major, outermost dimension first. */
export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A model's weights for an export that writes them: one tensor at a time, so that no second copy of all is held. */
export interface CheckpointInput {
  readonly model: HeadModel;
  readonly config: ModelConfig;
  /**
   * Writes the whole folder in the layout of the model's own family, where its checkpoint has one; without this the model
   * is written as a Llama, if it is one.
   * @param ablated heads whose rows of W_O become zeros
   */
  write?(path: string, ablated: readonly Head[], options: ExportOptions): Promise<Written>;
  /** Every tensor once, in any order, with the query and key rows in Hugging Face's half-split rotary order. */
  tensors(): AsyncIterable<NamedTensor>;
  /** Contents of tokenizer.json and tokenizer_config.json. */
  readonly tokenizer?: { readonly json: unknown; readonly config: unknown } | undefined;
  /** Token ids. */
  readonly bos?: number | undefined;
  readonly eos?: number | undefined;
}

/** Documents that an export can start from. */
export const EXPORTED = ["scores", "mask", "patterns"] as const;
/** One of `EXPORTED`. */
export type Exported = (typeof EXPORTED)[number];

/** Input of an export: scores, a mask or sparse patterns, and the weights where it needs them. */
export interface ExportInput {
  readonly scores?: HeadScores | undefined;
  readonly mask?: HeadMask | undefined;
  readonly patterns?: SparsePatterns | undefined;
  readonly checkpoint?: CheckpointInput | undefined;
}

export interface ExportOptions {
  /** Replaces a folder that an earlier export wrote; default false. Single files always are. */
  readonly force?: boolean | undefined;
  /** Stops the export between tensors; nothing is left behind. */
  readonly signal?: AbortSignal | undefined;
}

/** Files that an export wrote. */
export interface Written {
  readonly path: string;
  /** Names of the files in it for a folder; the path itself for a single file. */
  readonly files: readonly string[];
}

/** One foreign format that headscope writes. */
export interface Exporter<S extends z.ZodObject = z.ZodObject> extends Definition<S> {
  /** Documents that it can start from; one of them is given. */
  readonly from: readonly Exported[];
  /** True when it also needs the model's weights. */
  readonly needsCheckpoint: boolean;
  readonly output: "file" | "folder";
  /** The half of a mask that the format can't say; whoever exports is told of it. Default: it says all. */
  readonly leavesOut?: "streaming" | "ablated";
  /**
   * Writes the whole export or nothing.
   * @param path the file or folder to make
   */
  write(input: ExportInput, path: string, parameters: z.output<S>, options: ExportOptions): Promise<Written>;
}

/** Documents that foreign files become. */
interface Imported {
  readonly scores: HeadScores;
  readonly patterns: SparsePatterns;
}

/** A foreign format that becomes one kind of document. */
interface ImporterOf<K extends keyof Imported, S extends z.ZodObject> extends Definition<S> {
  readonly gives: K;
  /**
   * @param path file or folder
   * @param model whose heads the numbers are about; the file's shape must be its shape
   * @throws HeadscopeError `input` for a damaged file, `mismatch` for another shape
   */
  read(path: string, model: HeadModel): Promise<Imported[K]>;
}

/** One foreign format that becomes head scores. */
export type ScoresImporter<S extends z.ZodObject = z.ZodObject> = ImporterOf<"scores", S>;
/** One foreign format that becomes sparse patterns. */
export type PatternsImporter<S extends z.ZodObject = z.ZodObject> = ImporterOf<"patterns", S>;
/** One foreign format that headscope reads. */
export type Importer = ScoresImporter | PatternsImporter;
