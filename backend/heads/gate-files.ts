import { z } from "zod";
import { headModelSchema } from "../common/api/documents.ts";
import { HeadscopeError } from "../common/errors.ts";
import { parseDocument } from "../common/heads/document.ts";
import { corrupt } from "../models/formats/bytes.ts";
import { encodeSafetensors, readSafetensors, type SafeTensor } from "../models/formats/safetensors/safetensors.ts";
import { writeFileAtomic } from "../paths.ts";

/** The format of a file of trained gates. */
export const GATES_FORMAT = "headscope.gates/1";
/** Metadata of the file that says what it holds. */
const ABOUT = "headscope.gates";

const aboutSchema = z.strictObject({
  format: z.literal(GATES_FORMAT),
  /** Method by which they are trained, whose name is that of the policy that uses them. */
  method: z.string().min(1),
  model: headModelSchema,
  params: z.record(z.string(), z.unknown()),
  seed: z.int(),
  /** Optimiser steps that were done, and that there are. */
  step: z.int().min(0),
  steps: z.int().min(1),
  /** That training took, in seconds. */
  seconds: z.number().min(0),
  /** Losses by step. */
  curve: z.array(z.record(z.string(), z.number())),
});

/** Facts about trained gates. */
export type GatesAbout = Omit<z.output<typeof aboutSchema>, "format">;

/** Trained gates, or a training under way, as a file holds them. */
export interface GatesFile {
  readonly about: GatesAbout;
  /** By name, numbers and their shape. */
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly values: Float32Array }>;
}

/** Writes gates to a safetensors file, whole or not at all. */
export async function writeGates(path: string, { about, tensors }: GatesFile): Promise<void> {
  const entries = [...tensors].map(([name, { shape, values }]): [string, SafeTensor] => [
    name,
    { dtype: "F32", shape: [...shape], data: values },
  ]);
  const text = JSON.stringify({ format: GATES_FORMAT, ...about });
  await writeFileAtomic(path, encodeSafetensors(Object.fromEntries(entries), { [ABOUT]: text }));
}

/**
 * Reads what `writeGates` wrote.
 * @param method whose gates they must be
 * @throws HeadscopeError (missing, corrupt) for a file that is not there or damaged, (input) for another file, (mismatch) for another
 *   method's; each says by which command gates are made
 */
export async function readGates(path: string, method: string): Promise<GatesFile> {
  const remedy = `make them with headscope train-gates --for ${method} --model MODEL --out ${path}`;
  const { tensors, metadata } = await readSafetensors(path).catch((error: unknown) => {
    if (!(error instanceof HeadscopeError)) throw error;
    const { kind, message } = error;
    throw new HeadscopeError(kind, `${method} needs gates: ${message}`, { remedy, subject: path, cause: error });
  });
  const text = metadata[ABOUT];
  if (text === undefined) throw new HeadscopeError("input", `${path} holds no gates`, { remedy, subject: path });
  const { format: _, ...about } = parseDocument(aboutSchema, JSON.parse(text), {
    format: GATES_FORMAT,
    label: path,
    remedy,
  });
  if (about.method !== method)
    throw new HeadscopeError("mismatch", `${path} holds gates of ${about.method}, not of ${method}`, { remedy });
  return {
    about,
    tensors: new Map(
      [...tensors].map(([name, { dtype, shape, data }]) => {
        if (dtype !== "F32") throw corrupt(path, `tensor ${name} is of ${dtype}`);
        return [name, { shape, values: data as Float32Array }];
      }),
    ),
  };
}
