import { HeadscopeError, nearestNames } from "../../common/errors.ts";
import type { ModelConfig } from "../config.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import { refuseForeign } from "../formats/foreign.ts";
import { checkParts, type Family, type Parts, type Side, sideOf } from "./family.ts";
import { gemma2 } from "./gemma2.ts";
import { gemma3 } from "./gemma3.ts";
import { gptNeo } from "./gpt-neo.ts";
import { gptNeox } from "./gpt-neox.ts";
import { gpt2 } from "./gpt2.ts";
import { llama } from "./llama.ts";
import { mistral } from "./mistral.ts";
import { olmo2 } from "./olmo2.ts";
import { opt } from "./opt.ts";
import { phi3 } from "./phi3.ts";
import { qwen2 } from "./qwen2.ts";
import { qwen3 } from "./qwen3.ts";

export { checkParts, type Family, type Part, type Parts, type Piece, type Side, sideOf } from "./family.ts";
export { readPart, readPartNarrow, readPartStored, typesAsStored } from "./parts.ts";

/** Every family that headscope knows. To add one, write its file and name it here: docs/add-a-family.md. */
export const FAMILIES: readonly Family[] = [
  gpt2,
  gptNeo,
  gptNeox,
  opt,
  llama,
  mistral,
  qwen2,
  qwen3,
  gemma2,
  gemma3,
  phi3,
  olmo2,
];

/** The architecture that a checkpoint says it has, as it spells it; undefined when it says nothing. */
function architectureOf(checkpoint: Checkpoint): string | undefined {
  const { metadata } = checkpoint;
  if (checkpoint.format === "gguf") {
    const name = metadata["general.architecture"];
    return typeof name === "string" ? name : undefined;
  }
  const config = metadata["config"] as Record<string, unknown> | undefined;
  const classes = config?.["architectures"];
  const name: unknown = (Array.isArray(classes) ? classes[0] : undefined) ?? config?.["model_type"];
  return typeof name === "string" ? name : undefined;
}

/** The model_type of a checkpoint whose class is a bare model's, LlamaModel for llama: it has all but the head. */
function bareTypeOf({ metadata, format }: Checkpoint, name: string): string | undefined {
  const type =
    format === "gguf" ? undefined : (metadata["config"] as Record<string, unknown> | undefined)?.["model_type"];
  return typeof type === "string" && name.endsWith("Model") ? type : undefined;
}

/**
 * The family of a checkpoint, and its side for the checkpoint's format.
 * @param families to choose from; all that headscope knows by default
 * @throws HeadscopeError "missing" when the checkpoint doesn't say what it is, "unsupported" for an unknown architecture
 */
export function familyOf(
  checkpoint: Checkpoint,
  families: readonly Family[] = FAMILIES,
): { family: Family; side: Side } {
  const name = architectureOf(checkpoint);
  if (name === undefined) {
    const isGguf = checkpoint.format === "gguf";
    throw new HeadscopeError("missing", `${checkpoint.path} doesn't say which architecture it has`, {
      remedy: isGguf ? "convert it again: general.architecture is missing" : "put the model's config.json beside it",
    });
  }
  for (const spelled of [name, bareTypeOf(checkpoint, name)]) {
    for (const family of families) {
      const side = sideOf(family, checkpoint.format);
      if (spelled !== undefined && side?.architectures.includes(spelled)) return { family, side };
    }
  }
  const supported = families.flatMap((family) => sideOf(family, checkpoint.format)?.architectures ?? []);
  throw new HeadscopeError("unsupported", `${checkpoint.path} has the architecture "${name.slice(0, 60)}"`, {
    remedy: `supported are ${nearestNames(name.slice(0, 60), supported, 8).join(", ")}`,
  });
}

/** A checkpoint's model by its header. */
export interface Description {
  readonly family: Family;
  readonly config: ModelConfig;
  readonly parts: Parts;
}

/**
 * Describes a checkpoint's model and checks that all its weights are there in their shapes; none is read.
 * @param families as for `familyOf`
 * @throws HeadscopeError "missing", "corrupt", "mismatch" or "unsupported", naming file, tensor or field, expected and found; of what is
 *   no model's checkpoint, what it is
 */
export function describeCheckpoint(checkpoint: Checkpoint, families: readonly Family[] = FAMILIES): Description {
  refuseForeign(checkpoint);
  const { family, side } = familyOf(checkpoint, families);
  const config = side.config(checkpoint);
  const parts = side.parts(config, (tensor) => checkpoint.tensors.has(tensor));
  checkHead(checkpoint, parts);
  checkParts(checkpoint, parts, side.ignored);
  return { family, config, parts };
}

/** A model saved without its head is told apart from a file that is incomplete. */
function checkHead({ path, tensors }: Checkpoint, { embed, unembed }: Parts): void {
  const [head] = unembed ?? [];
  if (head === undefined || tensors.has(head.tensor) || !tensors.has(embed![0]!.tensor)) return;
  const what = `the head, which turns the last residual stream into logits, is missing`;
  throw new HeadscopeError("missing", `${path} holds no tensor "${head.tensor}": ${what}`, {
    remedy:
      "save it from the model with its head (AutoModelForCausalLM in transformers), or say tie_word_embeddings: true in " +
      "config.json where the head is the embedding",
  });
}
