import { join } from "node:path";
import { z } from "zod";
import { HeadscopeError } from "../common/errors.ts";
import { fileInside } from "../files.ts";
import { readJson } from "../json.ts";

const numbers = z.array(z.number());
const ids = z.array(z.int().nonnegative()).min(1);

const SCHEMA = z.object({
  ids: z.array(ids).min(1),
  logits: z.array(z.array(numbers)).optional(),
  logit_positions: z.array(z.int().nonnegative()).optional(),
  attention_l1: z.array(z.array(z.array(numbers))).optional(),
  hidden_after_l0: numbers.optional(),
  greedy: ids.optional(),
});

/**
 * Results of another implementation on a checkpoint, from the oracle.json beside it. All but `ids` may be absent.
 * - `ids` rows of token ids of one length
 * - `logits` [rows, positions, d_vocab] at `logit_positions`
 * - `attention_l1` attention probabilities of layer 1 for the first row [1, heads, query, key]
 * - `hidden_after_l0` residual stream behind layer 0 at the last position of the first row [d_model]
 * - `greedy` a prompt, which is the beginning of the first row, and the likeliest tokens after it
 */
export interface Oracle {
  readonly path: string;
  readonly ids: readonly (readonly number[])[];
  readonly logits: readonly (readonly (readonly number[])[])[] | undefined;
  readonly logitPositions: readonly number[];
  readonly attention: readonly (readonly (readonly (readonly number[])[])[])[] | undefined;
  readonly hidden: readonly number[] | undefined;
  readonly greedy: { readonly prompt: readonly number[]; readonly continuation: readonly number[] } | undefined;
}

/**
 * Reads DIR/oracle.json.
 * @throws HeadscopeError "missing" without the file, "corrupt" for one of another shape, "input" for a link out of the folder
 */
export async function readOracle(folder: string): Promise<Oracle> {
  const path = folder.endsWith(".json")
    ? folder
    : ((await fileInside(folder, "oracle.json")) ?? join(folder, "oracle.json"));
  const parsed = SCHEMA.safeParse(await readJson(path, "oracle"));
  const wrong = (what: string): HeadscopeError =>
    new HeadscopeError("corrupt", `${path}: ${what}`, {
      remedy: "write the oracle again: docs/families.md says what it holds",
    });
  if (!parsed.success) {
    const { path: field, message } = parsed.error.issues[0]!;
    throw wrong(`${field.join(".") || "the document"}: ${message}`);
  }
  const { ids: rows, logits, logit_positions: positions = [], attention_l1, hidden_after_l0, greedy } = parsed.data;
  if (rows.some((row) => row.length !== rows[0]!.length)) throw wrong("its rows of ids differ in length");
  if (logits && (logits.length !== rows.length || logits.some((row) => row.length !== positions.length)))
    throw wrong(`logits are not [${rows.length} rows, ${positions.length} positions, d_vocab]`);
  const shared = greedy ? sharedStart(greedy, rows[0]!) : 0;
  if (greedy && (shared === 0 || shared === greedy.length))
    throw wrong("greedy is not the beginning of the first row and a continuation");
  return {
    path,
    ids: rows,
    logits,
    logitPositions: positions,
    attention: attention_l1,
    hidden: hidden_after_l0,
    greedy: greedy && { prompt: greedy.slice(0, shared), continuation: greedy.slice(shared) },
  };
}

/** Counts the leading tokens that two rows have in common. */
function sharedStart(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, i) => id !== b[i]);
  return differs < 0 ? a.length : differs;
}
