import { z } from "zod";
import { headModelSchema, SCORES_FORMAT } from "../../common/api/documents.ts";
import { unknownName } from "../../common/errors.ts";
import type { HeadModel } from "../../common/heads/model.ts";
import { allFinite } from "../../hooks/finite.ts";
import { describeJson, readJson } from "../../json.ts";
import { readSafetensors } from "../../models/formats/safetensors/safetensors.ts";
import { input } from "./tokens.ts";

const SHAPE =
  "give a JSON array of d_model numbers, FILE.safetensors#NAME, or what headscope probe function-vector wrote";

/** A direction of the residual stream. */
export interface VectorFile {
  /** [d_model] */
  readonly vector: number[];
  /** The model that it was made with, where the file says so. */
  readonly model?: HeadModel | undefined;
}

/**
 * Reads a direction of the residual stream: a JSON array of numbers, a tensor of a safetensors file (`file.safetensors#name`, the name
 * left out where the file holds one), or the document of a function vector.
 * @throws HeadscopeError (missing, input, corrupt) naming the file; (usage) for a tensor that the file does not hold
 */
export async function readVector(reference: string): Promise<VectorFile> {
  const [, tensors, name] = /^(.+\.safetensors)(?:#(.*))?$/s.exec(reference) ?? [];
  const file = tensors === undefined ? await fromJson(reference) : { vector: await fromTensor(tensors, name) };
  if (file.vector.length === 0) throw input(`${reference} holds no number`, SHAPE);
  if (!allFinite(file.vector)) throw input(`${reference} holds numbers that are none`, "make it again");
  return file;
}

async function fromTensor(path: string, name?: string): Promise<number[]> {
  const { tensors } = await readSafetensors(path);
  const names = [...tensors.keys()];
  if (name === undefined && names.length !== 1)
    throw input(`${path} holds ${names.length} tensors`, `name one: ${path}#${names[0] ?? "name"}`);
  const tensor = tensors.get(name ?? names[0]!);
  if (!tensor) throw unknownName(`tensor of ${path}`, name!, names);
  const { shape, data } = tensor;
  if (shape.filter((length) => length !== 1).length > 1)
    throw input(`${path}#${name ?? names[0]} is [${shape.join(", ")}], not one vector`, "give a tensor of one vector");
  return Array.from(data as ArrayLike<number>, Number);
}

const vectorDocument = z.looseObject({
  format: z.literal(SCORES_FORMAT),
  model: headModelSchema.optional(),
  vector: z.array(z.number()),
});

async function fromJson(path: string): Promise<VectorFile> {
  const content = await readJson(path, "vector file");
  const document = vectorDocument.safeParse(content);
  if (document.success) return { vector: document.data.vector, model: document.data.model };
  const numbers = z.array(z.number()).safeParse(content);
  if (numbers.success) return { vector: numbers.data };
  const odd = Array.isArray(content) ? content.find((entry) => typeof entry !== "number") : undefined;
  const what = Array.isArray(content) ? `holds ${describeJson(odd)} among its numbers` : "is no vector";
  throw input(`${path} ${what}`, SHAPE);
}
