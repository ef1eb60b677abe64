import { HeadscopeError, nearest } from "../../errors.ts";
import type { Checkpoint } from "../formats/checkpoint.ts";
import type { Family } from "./family.ts";
import { llama } from "./llama.ts";

export { checkParts, type Family, type Part, type Piece, readPart, readPartNarrow } from "./family.ts";

/** Every family that headscope knows. To add one, write its file and name it here. */
export const FAMILIES: readonly Family[] = [llama];

/** The architecture that a checkpoint says it has, as it spells it; undefined when it says nothing. */
export function architectureOf(checkpoint: Checkpoint): string | undefined {
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

/**
 * The family of a checkpoint.
 * @throws HeadscopeError "missing" when the checkpoint doesn't say what it is, "unsupported" for an unknown architecture
 */
export function familyOf(checkpoint: Checkpoint): Family {
  const name = architectureOf(checkpoint);
  if (name === undefined) {
    const isGguf = checkpoint.format === "gguf";
    throw new HeadscopeError("missing", `${checkpoint.path} doesn't say which architecture it has`, {
      remedy: isGguf ? "convert it again: general.architecture is missing" : "put the model's config.json beside it",
    });
  }
  const family = FAMILIES.find(({ architectures }) => architectures.includes(name));
  if (family !== undefined) return family;
  const known = FAMILIES.flatMap(({ architectures }) => architectures);
  throw new HeadscopeError("unsupported", `${checkpoint.path} has the architecture "${name.slice(0, 60)}"`, {
    remedy: `supported are ${nearest(name.slice(0, 60), known, 8).join(", ")}`,
  });
}
