import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { HeadscopeError } from "../../common/errors.ts";
import { verifyModel } from "../../inference/verify.ts";
import { FAMILIES } from "../../models/families/index.ts";
import { inspectModel, loadModel } from "../../models/load.ts";
import { readOracle } from "../../models/oracle.ts";
import type { Context } from "../context.ts";
import { right, table } from "./format.ts";

/** A checkpoint of a family, measured against its oracle. */
export interface MeasuredCheckpoint {
  /** The folder's name. */
  readonly checkpoint: string;
  readonly features: readonly string[];
  /** Worst absolute error by what was compared. */
  readonly errors: Readonly<Record<string, number>>;
  /** True when the greedy continuations, with and without the cache, are the oracle's; absent where it has none. */
  readonly greedy: boolean | undefined;
}

/** A family as `models families` shows it. */
export interface FamilyRow {
  readonly family: string;
  /** Architectures by the names of each format. */
  readonly safetensors: readonly string[];
  readonly gguf: readonly string[];
  readonly measured: readonly MeasuredCheckpoint[];
}

/**
 * Every family, with what was measured on the checkpoints of a folder.
 * @param folder its subfolders with an oracle.json are measured; none without it
 * @throws HeadscopeError as loading and verifying do
 */
export async function familyRows(context: Pick<Context, "progress" | "signal">, folder?: string): Promise<FamilyRow[]> {
  const measured = folder === undefined ? [] : await measure(context, folder);
  return FAMILIES.map(({ name, huggingFace, gguf }) => ({
    family: name,
    safetensors: huggingFace.architectures,
    gguf: gguf?.architectures ?? [],
    measured: measured.filter(({ family }) => family === name).map(({ found }) => found),
  }));
}

async function measure({ progress, signal }: Pick<Context, "progress" | "signal">, folder: string) {
  if (!existsSync(folder))
    throw new HeadscopeError("missing", `there is no folder ${folder}`, { remedy: "check the path" });
  const names = readdirSync(folder).sort();
  const checkpoints = names.filter((name) => existsSync(join(folder, name, "oracle.json")));
  const measured: { family: string; found: MeasuredCheckpoint }[] = [];
  for (const [i, checkpoint] of checkpoints.entries()) {
    progress(i, checkpoints.length, checkpoint);
    const oracle = await readOracle(join(folder, checkpoint));
    const { features } = await inspectModel(join(folder, checkpoint));
    const model = await loadModel(join(folder, checkpoint));
    try {
      const { deviations, greedy } = await verifyModel(model, oracle, { tolerance: Number.POSITIVE_INFINITY, signal });
      const found: MeasuredCheckpoint = {
        checkpoint,
        features,
        errors: Object.fromEntries(deviations.map(({ what, error }) => [what, error])),
        greedy: greedy.length > 0 ? greedy.every(({ tokens, agree }) => tokens === agree) : undefined,
      };
      measured.push({ family: model.family, found });
    } finally {
      model.dispose();
    }
  }
  progress.end();
  return measured;
}

/** The families for people. */
export function familiesText(rows: readonly FamilyRow[]): string {
  return table(
    ["family", "safetensors", "GGUF", right("worst error")],
    rows.map(({ family, safetensors, gguf, measured }) => [
      family,
      safetensors.join(", "),
      gguf.join(", "),
      measured.length === 0 ? "" : worst(measured),
    ]),
  );
}

function worst(measured: readonly MeasuredCheckpoint[]): string {
  return errorText(Math.max(...measured.flatMap(({ errors }) => Object.values(errors))));
}

function errorText(error: number | undefined): string {
  return error === undefined ? "" : error.toExponential(1);
}

const COMMAND =
  "npm run -s headscope -- models families --against test/fixtures/families --markdown > docs/families.md";

/** The page docs/families.md. */
export function familiesPage(rows: readonly FamilyRow[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(", ");
  const checkpoints = rows.flatMap(({ family, measured }) => measured.map((one) => ({ family, ...one })));
  return [
    "# Families of checkpoints",
    "",
    "Made by a command, from the families' own files and the tiny random checkpoints in test/fixtures/families; do not edit it:",
    "",
    `    ${COMMAND}`,
    "",
    "How to add one is in [add-a-family.md](add-a-family.md).",
    "",
    line(["family", "safetensors", "GGUF"]),
    line(["---", "---", "---"]),
    ...rows.map(({ family, safetensors, gguf }) => line([family, code(safetensors), code(gguf) || "none"])),
    "",
    "## Measured errors",
    "",
    "Largest absolute differences from transformers in float32, on 2 rows of 24 tokens. The oracles' own numbers have five",
    "decimals, so nothing below 5e-6 can be told apart.",
    "",
    line(["checkpoint", "family", "logits", "attention", "hidden state", "greedy, with and without cache", "features"]),
    line(["---", "---", "--:", "--:", "--:", "---", "---"]),
    ...checkpoints.map(({ checkpoint, family, errors, greedy, features }) =>
      line([
        checkpoint,
        family,
        errorText(errors["logits"]),
        errorText(errors["attention of layer 1"]),
        errorText(errors["hidden state after layer 0"]),
        greedy === undefined ? "" : greedy ? "equal" : "differs",
        features.join(", "),
      ]),
    ),
    "",
    "## Verify a checkpoint of your own",
    "",
    "`headscope models verify REF --against DIR` compares a model with DIR/oracle.json, which another implementation wrote for",
    "the same checkpoint. All but `ids` may be left out:",
    "",
    "| field | what it holds |",
    "| --- | --- |",
    "| `ids` | rows of token ids, all of one length |",
    "| `logits`, `logit_positions` | logits [rows, positions, d_vocab], and the positions |",
    "| `attention_l1` | attention probabilities of layer 1 for the first row [1, heads, query, key] |",
    "| `hidden_after_l0` | the residual stream behind layer 0 at the first row's last position [d_model] |",
    "| `greedy` | the first tokens of the first row, then the likeliest tokens after them |",
  ].join("\n");
}
