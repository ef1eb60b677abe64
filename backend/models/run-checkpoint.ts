import { createHash } from "node:crypto";
import { closeSync, readSync } from "node:fs";
import { HeadscopeError } from "../errors.ts";
import { openRegularSync } from "../files.ts";
import { writeFileAtomic } from "../paths.ts";
import { tf } from "../runtime/tf.ts";
import type { ModelConfig } from "./config.ts";
import { encodeSafetensors, readSafetensors } from "./formats/safetensors.ts";
import { Model } from "./model.ts";
import { parameterCount, parameterLayout, weightsOver } from "./parameter-layout.ts";

const FORMAT = "headscope.checkpoint/1";

/** A training run at a step: the model, and what its optimiser needs to go on. */
export interface RunCheckpoint {
  step: number;
  seed: number;
  config: ModelConfig;
  /** What the run was made of, for whoever finds the file. */
  spec: unknown;
  /** Parameters in the order of `parameterLayout` [parameters]. */
  parameters: Float32Array;
  /** The optimiser's vectors [parameters] each; none in a file for reading only. */
  vectors: readonly Float32Array[];
}

/** Identity of parameters under a config, `sha256:…`. */
export function parametersDigest(config: ModelConfig, parameters: Float32Array): string {
  const hash = createHash("sha256").update(JSON.stringify(config));
  hash.update(new Uint8Array(parameters.buffer, parameters.byteOffset, parameters.byteLength));
  return `sha256:${hash.digest("hex")}`;
}

/** Writes a checkpoint, whole or not at all. @returns its size and the digest of the model in it */
export async function writeRunCheckpoint(
  path: string,
  checkpoint: RunCheckpoint,
): Promise<{ bytes: number; digest: string }> {
  const { step, seed, config, spec, parameters, vectors } = checkpoint;
  const shape = [parameters.length];
  const tensors = Object.fromEntries(
    [parameters, ...vectors].map((data, i) => [
      i === 0 ? "parameters" : `optimiser.${i - 1}`,
      { dtype: "F32" as const, shape, data },
    ]),
  );
  const metadata = { format: FORMAT, step: `${step}`, seed: `${seed}`, config: JSON.stringify(config), spec: JSON.stringify(spec) }; // biome-ignore format: a table
  const parts = [...encodeSafetensors(tensors, metadata)];
  await writeFileAtomic(path, parts);
  return {
    bytes: parts.reduce((sum, part) => sum + part.byteLength, 0),
    digest: parametersDigest(config, parameters),
  };
}

/** Whether a file begins as a checkpoint of a run does, of whatever version; false for what can't be read. */
export function isRunFile(path: string): boolean {
  const head = Buffer.alloc(65_536);
  try {
    const file = openRegularSync(path);
    try {
      return head.toString("latin1", 0, readSync(file, head)).includes('"headscope.checkpoint/');
    } finally {
      closeSync(file);
    }
  } catch {
    return false;
  }
}

/**
 * Reads a checkpoint.
 * @throws HeadscopeError for a file that is corrupt or of another version
 */
export async function readRunCheckpoint(path: string): Promise<RunCheckpoint> {
  const { metadata, tensors } = await readSafetensors(path);
  if (metadata["format"] !== FORMAT) {
    const found = metadata["format"] ?? "no format";
    throw new HeadscopeError("unsupported", `${path}: the checkpoint says ${found}, this version reads ${FORMAT}`, {
      remedy: "train the run again, or use the version that made it",
    });
  }
  const corrupt = (why: string, cause?: unknown): HeadscopeError =>
    new HeadscopeError("corrupt", `${path}: ${why}`, { remedy: "use another checkpoint of the run", cause });
  let config: ModelConfig;
  let spec: unknown;
  let expected: number;
  try {
    config = JSON.parse(metadata["config"]!) as ModelConfig;
    spec = JSON.parse(metadata["spec"]!);
    expected = parameterCount(parameterLayout(config));
  } catch (cause) {
    throw corrupt("the checkpoint's description can't be read", cause);
  }
  const vectors: Float32Array[] = [];
  for (let i = 0; tensors.has(i === 0 ? "parameters" : `optimiser.${i - 1}`); i++)
    vectors.push(tensors.get(i === 0 ? "parameters" : `optimiser.${i - 1}`)!.data as Float32Array);
  const [parameters, ...rest] = vectors;
  const odd = vectors.find((v) => !(v instanceof Float32Array) || v.length !== expected);
  if (!parameters || odd) {
    const found = odd ? `${odd.length} numbers` : "none";
    throw corrupt(`the checkpoint's model has ${expected} parameters and the file ${found}`);
  }
  if (vectors.some((v) => v.some((x) => !Number.isFinite(x)))) throw corrupt("the checkpoint holds NaN or infinity");
  return { step: Number(metadata["step"]), seed: Number(metadata["seed"]), config, spec, parameters, vectors: rest };
}

/** The model of a checkpoint. @param ref how the user named it */
export function modelOfParameters(ref: string, config: ModelConfig, parameters: Float32Array): Model {
  const weights = weightsOver(config, parameterLayout(config), ({ offset, size, shape }) =>
    tf.tensor(parameters.slice(offset, offset + size), [...shape]),
  );
  return new Model({ ref, family: "toy", digest: parametersDigest(config, parameters), config, weights });
}
