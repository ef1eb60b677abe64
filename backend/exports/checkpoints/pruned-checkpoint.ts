import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../../common/errors.ts";
import { formatHead, type Head } from "../../common/heads/head.ts";
import { checkModel } from "../../common/heads/model.ts";
import { formatJson } from "../../json.ts";
import type { CheckpointInput, Exporter, NamedTensor } from "../export.ts";
import { writeFolder, writeSynced } from "../folder.ts";
import { formatConfig } from "./config-json.ts";
import { headsToAblate, withoutHeads } from "./hf-prune.ts";
import { checkLlama, llamaConfig, llamaTensors } from "./llama-checkpoint.ts";
import { floatBytes, layoutSafetensors } from "./safetensors-header.ts";

const parameters = z.object({});

/** The model itself without the ablated heads: what they write to the residual stream is zero in any engine. */
export const prunedCheckpoint: Exporter<typeof parameters> = {
  name: "pruned-checkpoint",
  title: "Checkpoint with heads removed",
  description:
    "A Hugging Face folder (config.json, model.safetensors in float32, generation_config.json, and the tokenizer's " +
    "files where it has them) of the model in which the rows of W_O that belong to the ablated heads are zero: the " +
    "columns of o_proj in a Llama. Shapes stay as they are, so every engine that loads the model runs the zero ablation.",
  source: "huggingface/transformers, the class of the model's family",
  parameters,
  from: ["mask"],
  leavesOut: "streaming",
  needsCheckpoint: true,
  output: "folder",
  async write({ mask, checkpoint }, path, _, options) {
    const input = checkpoint!;
    const heads = headsToAblate(mask!);
    checkModel(mask!, input.model, "the mask");
    if (input.write) return input.write(path, heads, options);
    checkLlama(input.config, input.model.ref);
    return writeFolder(path, options, async (folder) => {
      const { config, generation } = llamaConfig(input);
      await writeSynced(join(folder, "config.json"), formatConfig(config));
      await writeSynced(join(folder, "generation_config.json"), formatJson(generation));
      if (input.tokenizer !== undefined) {
        await writeSynced(join(folder, "tokenizer.json"), JSON.stringify(input.tokenizer.json));
        await writeSynced(join(folder, "tokenizer_config.json"), formatJson(input.tokenizer.config));
      }
      await writeWeights(join(folder, "model.safetensors"), input, heads, options.signal);
    });
  },
};

/** Writes each tensor where the layout has it as it comes, so one tensor at a time is in memory. */
async function writeWeights(
  path: string,
  input: CheckpointInput,
  ablated: readonly Head[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const slots = new Map(llamaTensors(input.config).map((slot) => [slot.name, slot.shape]));
  const layout = layoutSafetensors(
    [...slots].map(([name, shape]) => ({ name, shape })),
    {
      format: "pt", // transformers refuses a file without it
      "headscope.model": input.model.ref,
      ...(input.model.digest === undefined ? {} : { "headscope.digest": input.model.digest }),
      "headscope.ablated": ablated.map(formatHead).join(","),
    },
  );
  const file = await open(path, "wx");
  try {
    await writeAt(file, layout.header, 0);
    for await (const tensor of input.tensors()) {
      signal?.throwIfAborted();
      const shape = slots.get(tensor.name);
      if (shape === undefined || shape.join() !== tensor.shape.join()) throw noPlace(input.model.ref, tensor, shape);
      slots.delete(tensor.name);
      const data = withoutHeads(tensor.name, tensor.data, ablated, input.config);
      await writeAt(file, floatBytes(data), layout.offsets.get(tensor.name)!);
    }
    const [missing] = slots.keys();
    if (missing !== undefined)
      throw new HeadscopeError("mismatch", `${input.model.ref} has no tensor ${missing}, which a Llama model needs`, {
        remedy: "fetch or convert the model again",
      });
    await file.sync();
  } finally {
    await file.close();
  }
}

function noPlace(ref: string, tensor: NamedTensor, shape: readonly number[] | undefined): HeadscopeError {
  const label = `${tensor.name} [${tensor.shape.join(", ")}]`;
  const why = shape === undefined ? "is not part of a Llama model, or comes twice" : `should be [${shape.join(", ")}]`;
  return new HeadscopeError("unsupported", `tensor ${label} of ${ref} ${why}`, {
    remedy: "a checkpoint folder can be written for models of the Llama family only",
  });
}

async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    done += bytesWritten;
  }
}
