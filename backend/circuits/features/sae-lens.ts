import type { Tensor } from "@tensorflow/tfjs";
import { type DictionaryConfig, dictionaryConfig } from "../../common/api/dictionaries.ts";
import { fieldPath, HeadscopeError } from "../../common/errors.ts";
import { DICTIONARY_ARCHITECTURES, type DictionaryArchitecture } from "../../common/words.ts";
import { allFinite } from "../../hooks/finite.ts";
import { describeJson } from "../../json.ts";
import { corrupt, missingTensor } from "../../models/formats/bytes.ts";
import { readJsonObject } from "../../models/formats/json-file.ts";
import { besidePath } from "../../models/formats/model-folder.ts";
import { isFloat } from "../../models/formats/safetensors/checkpoint.ts";
import { readSafetensors, type SafetensorsHeader } from "../../models/formats/safetensors/safetensors.ts";
import { checkHolds } from "../../models/sources/memory.ts";
import { tf } from "../../runtime/tf.ts";
import { type DictionaryWeights, SparseDictionary } from "./dictionary.ts";

/** Fields that only versions of SAELens before 6 write, whose other fields mean other things. */
const EARLIER = ["hook_name", "activation_fn", "activation_fn_str", "hook_point"];

/**
 * Reads a sparse dictionary that SAELens 6 has saved: a folder with cfg.json and sae_weights.safetensors.
 * @returns the dictionary, which the caller disposes
 * @throws HeadscopeError (missing) without the files or a tensor; (input) for a field that cannot be as it is; (unsupported) for another
 * architecture, scaling or version, and weights beyond the memory; (mismatch) for weights of other shapes than cfg.json says;
 * (corrupt) for damaged files and numbers that are none
 */
export async function loadDictionary(folder: string): Promise<SparseDictionary> {
  const config = await readConfig(await besidePath(folder, "cfg.json"));
  const architecture = config.architecture as DictionaryArchitecture;
  const path = await besidePath(folder, "sae_weights.safetensors");
  const { metadata, d_in: width, d_sae: size, apply_b_dec_to_input: centred } = config;
  const shapes = shapesOf(config);
  const { tensors } = await readSafetensors(path, (header) => checkHeader(path, header, shapes));
  for (const name of Object.keys(shapes))
    if (!allFinite(tensors.get(name)!.data as Float32Array))
      throw corrupt(path, `tensor "${name}" holds numbers that are none`);
  const weights = tf.tidy(() => {
    const entries = Object.entries(shapes).map(([name, shape]): [string, Tensor] => {
      const { data } = tensors.get(name)!;
      return [name, tf.tensor(data instanceof Float32Array ? data : Float32Array.from(data as Float64Array), shape)];
    });
    const plain = Object.fromEntries(entries) as unknown as DictionaryWeights;
    const own = config.rescale_acts_by_decoder_norm ? rescaled(plain) : plain;
    for (const tensor of Object.values(own)) tf.keep(tensor as Tensor);
    return { ...own };
  });
  return new SparseDictionary(
    {
      path: folder,
      architecture,
      width,
      size,
      hook: metadata.hook_name ?? undefined,
      trainedOn: metadata.model_name ?? undefined,
      k: config.k,
      centred,
    },
    weights,
  );
}

/** The same dictionary with the lengths of its directions in the encoder: topk then chooses by what features write. */
function rescaled({ W_enc, b_enc, W_dec, ...rest }: DictionaryWeights): DictionaryWeights {
  const lengths = tf.norm(W_dec, "euclidean", 1); // [size]
  return {
    ...rest,
    W_enc: tf.mul(W_enc, lengths),
    b_enc: tf.mul(b_enc, lengths),
    W_dec: tf.divNoNan(W_dec, tf.expandDims(lengths, 1)),
  };
}

/** Shapes of the tensors that a dictionary has. */
function shapesOf({ architecture, d_in, d_sae }: DictionaryConfig): Record<string, number[]> {
  const shapes = { W_enc: [d_in, d_sae], b_enc: [d_sae], W_dec: [d_sae, d_in], b_dec: [d_in] };
  return architecture === "jumprelu" ? { ...shapes, threshold: [d_sae] } : shapes;
}

async function readConfig(path: string): Promise<DictionaryConfig> {
  const content = await readJsonObject(path);
  const earlier = EARLIER.find((field) => content[field] !== undefined);
  if (earlier !== undefined)
    throw unsupported(`${path} has the field ${earlier}, as SAELens before version 6 wrote it`, {
      remedy: "load it with SAELens 6 and save it again",
    });
  const parsed = dictionaryConfig.safeParse(content);
  if (!parsed.success) {
    const { path: field } = parsed.error.issues[0]!;
    const value = field.reduce<unknown>((inner, part) => (inner as Record<PropertyKey, unknown>)[part], content);
    const name = fieldPath(field);
    throw new HeadscopeError("input", `${path}: ${name} ${value === undefined ? "is missing" : `cannot be ${describeJson(value)}`}`, {
      remedy: "give a dictionary that SAELens 6 saved",
      field: name,
      subject: path,
    }); // biome-ignore format: one line
  }
  checkConfig(path, parsed.data);
  return parsed.data;
}

/** @throws HeadscopeError for a dictionary that is not computed here */
function checkConfig(path: string, config: DictionaryConfig): void {
  const { architecture, normalize_activations: scaling, k, d_sae, metadata } = config;
  if (!(DICTIONARY_ARCHITECTURES as readonly string[]).includes(architecture))
    throw unsupported(`${path} is of the architecture "${architecture}"`, {
      remedy: `give a dictionary that is one of ${DICTIONARY_ARCHITECTURES.join(", ")}`,
      field: "architecture",
    });
  if (scaling !== "none")
    throw unsupported(`${path} scales what it reads by "${scaling}"`, {
      remedy: "fold the scaling into the weights with SAELens and save them again",
      field: "normalize_activations",
    });
  if (typeof metadata.hook_head_index === "number")
    throw unsupported(`${path} is a dictionary of head ${metadata.hook_head_index} alone`, {
      remedy: "give one of all heads of a layer",
      field: "metadata.hook_head_index",
    });
  if (architecture === "topk" && (k === undefined || k > d_sae))
    throw new HeadscopeError("input", `${path}: k ${k === undefined ? "is missing" : `cannot be ${k}`}`, {
      remedy: `give a whole number from 1 to ${d_sae}`,
      field: "k",
      subject: path,
    });
}

/** Insists on the tensors of a dictionary before memory is taken for them. */
function checkHeader(path: string, { tensors }: SafetensorsHeader, shapes: Record<string, number[]>): void {
  let bytes = 0;
  for (const [name, shape] of Object.entries(shapes)) {
    const entry = tensors.get(name);
    if (!entry) throw missingTensor(path, name);
    if (!isFloat(entry.dtype))
      throw unsupported(`${path}: tensor "${name}" is ${entry.dtype}`, { remedy: "save the weights as floats" });
    if (entry.shape.join() !== shape.join())
      throw new HeadscopeError("mismatch", `${path}: ${name} is [${entry.shape.join(", ")}], and cfg.json says [${shape.join(", ")}]`, {
        remedy: "the files are of two dictionaries: take both from one folder",
        subject: path,
      }); // biome-ignore format: one line
    bytes += entry.bytes + 8 * shape.reduce((product, length) => product * length, 1);
  }
  checkHolds(path, bytes);
}

function unsupported(message: string, parts: { remedy: string; field?: string }): HeadscopeError {
  return new HeadscopeError("unsupported", message, parts);
}
