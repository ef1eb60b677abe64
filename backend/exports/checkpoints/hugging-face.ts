import { copyFile, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";

import { formatJson, readText } from "../../json.ts";
import type { Family, Parts } from "../../models/families/family.ts";
import { FAMILIES } from "../../models/families/index.ts";
import { isCovered, type PartTensor, placePiece, tensorsOf } from "../../models/families/inverse.ts";
import { pieceRows } from "../../models/families/parts.ts";
import type { Checkpoint } from "../../models/formats/checkpoint.ts";
import { FILES_BESIDE, fileBeside } from "../../models/formats/model-folder.ts";
import { withCheckpointOf } from "../../models/load.ts";
import type { Model } from "../../models/model.ts";
import type { Matrix } from "../../models/weights/matrix.ts";
import { partTensors } from "../../models/weights/weights.ts";
import { tf } from "../../runtime/tf.ts";
import type { ExportOptions, Written } from "../export.ts";
import { writeFolder, writeSynced } from "../folder.ts";
import { floatFieldsIn, formatConfig } from "./config-json.ts";
import { tokenizerFilesOf } from "./gguf-tokenizer.ts";
import { withoutHeads } from "./hf-prune.ts";
import { huggingFaceConfig } from "./hugging-face-config.ts";
import { floatBytes, layoutSafetensors } from "./safetensors-header.ts";

export interface HuggingFaceOptions extends ExportOptions {
  /** Heads whose rows of W_O are written as zeros, so that they add nothing to the residual stream. */
  readonly ablated?: readonly Head[];
}

/**
 * Writes a model as a Hugging Face folder: config.json and model.safetensors (float32) as its family's class in transformers
 * reads them, and its tokenizer: the files that lay beside the weights in a Hugging Face folder (chat template and
 * generation_config.json among them), or those written from a GGUF file's. The weights are the model's own as they are now, edited ones as well; loading the folder gives
 * them back bit for bit.
 * @param model loaded from a checkpoint, whose config.json (or GGUF metadata) the folder's config.json starts from
 * @param path the folder to make, whole or not at all
 * @throws HeadscopeError `unsupported` for a model that is no checkpoint of a known family, or that its family's config.json
 *   cannot describe; `input` when the folder cannot be replaced, or a file beside the weights is a link out of their folder
 */
export async function writeHuggingFace(model: Model, path: string, options: HuggingFaceOptions = {}): Promise<Written> {
  const family = FAMILIES.find(({ name }) => name === model.family);
  if (family === undefined) {
    throw new HeadscopeError("unsupported", `${model.ref} is of no family that transformers has (${model.family})`, {
      remedy: "export it for TransformerLens: --format transformer-lens",
    });
  }
  return withCheckpointOf(model.ref, async (checkpoint) => {
    const tensors = tensorsOf(partsHeld(model, family));
    const config = huggingFaceConfig(model, family, checkpoint, tensors);
    const isFolder = checkpoint.format === "safetensors";
    const beside = isFolder ? await filesBeside(dirname(checkpoint.path)) : new Map<string, string>();
    return writeFolder(path, options, async (folder) => {
      await writeSynced(join(folder, "config.json"), formatConfig(config, await floatFieldsOf(checkpoint)));
      await writeWeights(join(folder, "model.safetensors"), { model, checkpoint, tensors, options });
      for (const [name, path] of beside) await copyFile(path, join(folder, name));
      if (isFolder) return;
      const stops = model.stops.tokens.map(({ id }) => id);
      // config.json has room for the end of a text; ends of turns and messages beside it go where transformers looks first.
      if (stops.length > 1)
        await writeSynced(join(folder, "generation_config.json"), formatJson({ eos_token_id: stops }));
      const tokenizer = tokenizerFilesOf(checkpoint.metadata);
      if (tokenizer === undefined) return;
      await writeSynced(join(folder, "tokenizer.json"), JSON.stringify(tokenizer.json));
      await writeSynced(join(folder, "tokenizer_config.json"), formatJson(tokenizer.config));
    });
  });
}

/** The fields whose numbers have a point in the checkpoint's own config.json. */
async function floatFieldsOf({ format, path }: Checkpoint): Promise<string[]> {
  const file = format === "safetensors" ? await fileBeside(dirname(path), "config.json") : undefined;
  return file === undefined ? [] : floatFieldsIn(await readText(file, "config.json"));
}

/**
 * Paths of a model folder's files that are taken over, by name.
 * @throws HeadscopeError "input" for one that is a link out of the folder: what the link leads to is not the model's to publish
 */
async function filesBeside(folder: string): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>();
  for (const name of FILES_BESIDE) {
    const path = await fileBeside(folder, name);
    if (path !== undefined) files.set(name, path);
  }
  return files;
}

/**
 * The family's parts that the model has: of optional biases those among its weights.
 * @throws HeadscopeError "unsupported" when the model has weights that the family has no tensor for, or lacks some
 */
function partsHeld({ ref, config, weights }: Model, family: Family): Parts {
  const held = partTensors(weights);
  const all = family.huggingFace.parts(config, () => true);
  const needed = family.huggingFace.parts(config, () => false);
  const extra = [...held.keys()].find((name) => !Object.hasOwn(all, name));
  const missing = Object.keys(needed).find((name) => !held.has(name));
  if (extra !== undefined || missing !== undefined) {
    const what = extra === undefined ? `lacks ${missing}` : `has ${extra}`;
    throw new HeadscopeError("unsupported", `${ref} ${what}, unlike a ${family.name} model of transformers`, {
      remedy: "load it without weight processing, or export it for TransformerLens: --format transformer-lens",
    });
  }
  return Object.fromEntries(Object.entries(all).filter(([name]) => held.has(name)));
}

interface Writing {
  readonly model: Model;
  readonly checkpoint: Checkpoint;
  readonly tensors: readonly PartTensor[];
  readonly options: HuggingFaceOptions;
}

/** Writes one tensor after the other, so that no second copy of the model is held. */
async function writeWeights(path: string, { model, checkpoint, tensors, options }: Writing): Promise<void> {
  const { ablated = [], signal } = options;
  const { header } = layoutSafetensors(tensors, {
    format: "pt", // transformers refuses a file without it
    "headscope.model": model.ref,
    "headscope.digest": model.digest,
    ...(ablated.length === 0 ? {} : { "headscope.ablated": ablated.map(formatHead).join(",") }),
  });
  const held = partTensors(model.weights);
  const file = await open(path, "wx");
  let last: { part: string; values: Float32Array } | undefined; // fused parts span tensors that follow one another
  const valuesOf = async (part: string): Promise<Float32Array> => {
    if (last?.part !== part) {
      const values = await floats(held.get(part)!);
      last = { part, values: withoutHeads(part, values, ablated, model.config) };
    }
    return last.values;
  };
  try {
    await file.writeFile(header);
    for (const tensor of tensors) {
      signal?.throwIfAborted();
      const values = await startOf(tensor, checkpoint);
      for (const { part, start, piece } of tensor.shares) {
        const all = await valuesOf(part);
        const width = partWidth(tensor);
        placePiece(piece, all.subarray(start * width, (start + pieceRows(piece)) * width), values);
      }
      await file.writeFile(floatBytes(values));
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Columns of a tensor's rows in the engine's order; 1 for a vector. */
function partWidth({ shares, shape }: PartTensor): number {
  return shape.length === 1 ? 1 : shape[shares[0]!.piece.transpose ? 0 : 1]!;
}

/** The numbers of a tensor before its pieces are placed: rows that no part has are the source's, where it has the tensor. */
async function startOf(tensor: PartTensor, checkpoint: Checkpoint): Promise<Float32Array> {
  const { name, shape } = tensor;
  const stored = checkpoint.format === "safetensors" ? checkpoint.tensors.get(name)?.shape.join() : undefined;
  if (stored === shape.join() && !isCovered(tensor)) return checkpoint.read(name);
  return new Float32Array(shape.reduce((product, length) => product * length, 1));
}

/** The numbers of a weight in float32, row by row. */
async function floats(weight: Matrix | Tensor): Promise<Float32Array> {
  if (!("widen" in weight)) return (await weight.data()) as Float32Array;
  const wide = tf.tidy(() => weight.widen());
  try {
    return (await wide.data()) as Float32Array;
  } finally {
    if (weight.narrow) wide.dispose();
  }
}
