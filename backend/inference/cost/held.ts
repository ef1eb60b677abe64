import { HeadscopeError } from "../../common/errors.ts";
import type { ModelDescription } from "../../models/sources/source.ts";
import { checkPrompt, type PolicyChoice } from "../policies/choice.ts";
import { footprint, type RequestSize } from "./footprint.ts";

/** Bytes of keys and values of a request; those under policies are absent where they refuse a prompt of this length. */
export interface HeldBytes {
  /** Allocated at the end under policies, and with everything held. */
  readonly bytes?: number;
  readonly bytesFull: number;
  /** Read by a new token, mean over those behind the prompt. */
  readonly read?: number;
  /** Why a prompt of this length is refused. */
  readonly refused?: string;
}

/** Policies at work, as `choosePolicies` gives them; `{}` for full attention. */
type Choice = Partial<PolicyChoice>;

/** The policies that decide as they run how much is held: theirs counts as full attention's. What a prompt reads changes nothing here. */
export function undecidedBytes({ config }: Pick<ModelDescription, "config">, choice: Choice): readonly string[] {
  return footprint(unread(choice), config, { tokens: 1, newTokens: 1, cache: "f32" }).undecided;
}

/** Bytes of a request under policies, told without a run. @param choice of policies that `checkSuits` lets through */
export function heldBytes({ config }: Pick<ModelDescription, "config">, choice: Choice, size: RequestSize): HeldBytes {
  const full = footprint({}, config, size);
  try {
    if (choice.tokens) checkPrompt(choice.tokens, size.tokens);
  } catch (error) {
    if (error instanceof HeadscopeError && error.kind === "input")
      return { bytesFull: full.bytes, refused: error.message };
    throw error;
  }
  const { bytes, readBytes } = footprint(choice, config, size, false);
  return { bytes, bytesFull: full.bytes, read: Math.round(readBytes) };
}

/** Without what a prompt reads, which decides no bytes where it goes by scores. */
function unread({ blocks: _, ...choice }: Choice): Choice {
  return choice;
}
