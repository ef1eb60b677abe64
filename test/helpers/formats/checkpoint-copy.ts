import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import {
  encodeSafetensors,
  readSafetensors,
  type SafeTensor,
} from "../../../backend/models/formats/safetensors/safetensors.ts";
import { fixture } from "../fixtures.ts";

/** Differences of a copy of a checkpoint. */
export interface Changes {
  /** Fields of config.json; undefined takes one out. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Files beside the weights by name: texts, or values written as JSON. */
  readonly files?: Readonly<Record<string, unknown>>;
  /** The tensors of model.safetensors made from those that are there. */
  readonly tensors?: (tensors: Record<string, SafeTensor>) => Record<string, SafeTensor>;
  /** Strings of its `__metadata__`. */
  readonly strings?: Readonly<Record<string, string>>;
}

const made: string[] = [];

/** Registers that a test file's copies are removed when it has run. */
export function removeCopies(): void {
  afterAll(() => {
    for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
  });
}

/** Copies a checkpoint's folder (one safetensors file) and changes it. @returns the copy's path */
export async function copyOf(name: string, changes: Changes = {}): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "headscope-copy-"));
  made.push(folder);
  cpSync(fixture(name), folder, { recursive: true });
  const at = (file: string): string => join(folder, file);
  const config = JSON.parse(readFileSync(at("config.json"), "utf8")) as Record<string, unknown>;
  writeFileSync(at("config.json"), JSON.stringify({ ...config, ...changes.config }));
  for (const [file, content] of Object.entries(changes.files ?? {}))
    writeFileSync(at(file), typeof content === "string" ? content : JSON.stringify(content));
  if (changes.tensors || changes.strings) {
    const { tensors } = await readSafetensors(at("model.safetensors"));
    const own = Object.fromEntries(tensors);
    writeSafetensors(at("model.safetensors"), changes.tensors?.(own) ?? own, changes.strings);
  }
  return folder;
}

/** Writes a safetensors file. */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, SafeTensor>>,
  strings: Readonly<Record<string, string>> = { format: "pt" },
): void {
  writeFileSync(path, Buffer.concat([...encodeSafetensors(tensors, strings)]));
}
