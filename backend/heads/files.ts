import { createHash } from "node:crypto";
import packageJson from "../../package.json" with { type: "json" };
import { SCORES_FORMAT } from "../common/api/documents.ts";
import { type HeadMask, parseMask } from "../common/heads/mask.ts";
import type { HeadModel } from "../common/heads/model.ts";
import { type HeadMetric, type HeadScores, parseScores } from "../common/heads/scores.ts";
import { formatJson, readJson } from "../json.ts";
import { writeFileAtomic } from "../paths.ts";

/** A probe's part of a score document; `createScores` adds the rest. */
export interface ScoresInput {
  readonly model: HeadModel;
  readonly probe: string;
  readonly params: Record<string, unknown>;
  /** Token rows that were scored, [rows][positions] of ids; only their digest is kept. */
  readonly tokens?: readonly (readonly number[])[] | undefined;
  readonly seed?: number | undefined;
  readonly metrics: Record<string, HeadMetric>;
  readonly summary?: Record<string, number>;
  readonly perCase?: unknown;
  /** Further fields of the document, by name. */
  readonly findings?: Record<string, unknown> | undefined;
  readonly notes?: string[] | undefined;
}

/**
 * Makes a complete score document, with the time and headscope's version.
 * @throws HeadscopeError `input` for a table of another shape or a number that is not finite
 */
export function createScores(input: ScoresInput): HeadScores {
  const { model, probe, params, tokens, seed, metrics, summary = {}, perCase, findings, notes } = input;
  const origin = { format: SCORES_FORMAT, model, probe, params, tokens: tokens && tokensDigest(tokens), seed };
  const writer = { created: new Date().toISOString(), headscope: packageJson.version };
  return parseScores({ ...findings, ...origin, ...writer, metrics, summary, perCase, notes }, `scores of ${probe}`);
}

/** "sha256:…" of token rows: the hash of their JSON without spaces. */
export function tokensDigest(rows: readonly (readonly number[])[]): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(rows)).digest("hex")}`;
}

/**
 * Reads and checks a score file.
 * @throws HeadscopeError `missing` or `input`, starting with the path
 */
export function readScores(path: string): Promise<HeadScores> {
  return readDocument(path, "scores file", parseScores);
}

/** Checks and writes a score file, whole or not at all. */
export async function writeScores(path: string, scores: HeadScores): Promise<void> {
  await writeFileAtomic(path, `${formatJson(parseScores(scores, path))}\n`);
}

/**
 * Reads and checks a mask file.
 * @throws HeadscopeError `missing` or `input`, starting with the path
 */
export function readMask(path: string): Promise<HeadMask> {
  return readDocument(path, "mask file", parseMask);
}

/** Checks and writes a mask file, whole or not at all. */
export async function writeMask(path: string, mask: HeadMask): Promise<void> {
  await writeFileAtomic(path, `${formatJson(parseMask(mask, path))}\n`);
}

/** Reads a file and checks it with `parse`; errors start with its path. */
async function readDocument<T>(path: string, what: string, parse: (value: unknown, label: string) => T): Promise<T> {
  return parse(await readJson(path, what), path);
}
