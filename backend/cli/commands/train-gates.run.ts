import { rm } from "node:fs/promises";
import { gateMethods } from "../../../probes/gates/index.ts";
import { CHECKPOINT, gateScores, trainGates } from "../../../probes/gates/train.ts";
import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { counted } from "../../common/text.ts";
import { refuseFolder } from "../../exports/folder.ts";
import { writeScores } from "../../heads/files.ts";
import { type GatesFile, readGates, writeGates } from "../../heads/gate-files.ts";
import { describeModel } from "../../models/load.ts";
import type { Context } from "../context.ts";
import { withModel } from "../model.ts";
import type { ModelOptions } from "../options.ts";
import { scoresText } from "../text/scores.ts";

interface TrainGatesCommandOptions extends ModelOptions {
  for: string;
  out: string;
  param?: string[];
  seed: number;
  resume?: boolean;
}

/** The method whose gates are scores of KV heads. */
const SCORES = "duo-attention";

/** Trains a policy's gates and writes them. */
export async function trainPolicyGates(context: Context, options: TrainGatesCommandOptions): Promise<void> {
  const { for: name, out, seed } = options;
  const params = readPairs(options.param ?? []);
  const parsed = gateMethods.parse(name, params); // before the model is loaded, which takes seconds
  await refuseFolder(out);
  const kept = `${out}.checkpoint`;
  const from = options.resume ? await readCheckpoint(kept, name) : undefined;
  gateMethods.get(name).adapt((await describeModel(options.model)).config, parsed);
  const { signal, progress } = context;
  await withModel(context, options, async (model) => {
    const checkpoint = (state: GatesFile) => writeGates(kept, state);
    if (!from) context.note(`  a checkpoint is kept in ${kept} every ${counted(CHECKPOINT, "step")}`);
    const gates = await trainGates(model, name, params, { seed, from, checkpoint, progress, signal }).catch((error) => {
      if (signal.aborted) context.note(`  go on with the same command and --resume`);
      throw error;
    });
    if (name === SCORES) {
      const scores = gateScores(model, gates);
      await writeScores(out, scores);
      await rm(kept, { force: true });
      await context.print(scores, () => [scoresText(scores), "", `Written to ${out}.`].join("\n"));
      return;
    }
    await writeGates(out, gates);
    await rm(kept, { force: true });
    await context.print(gates.about, () => gatesText(gates, out));
  });
}

/** Reads the checkpoint of a training that was stopped. @throws HeadscopeError as `readGates`, for what there is to go on from */
function readCheckpoint(path: string, name: string): Promise<GatesFile> {
  return readGates(path, name).catch((error: unknown) => {
    if (!(error instanceof HeadscopeError)) throw error;
    throw new HeadscopeError(error.kind, `there is no training to go on with: ${error.message}`, {
      remedy: "leave --resume out to begin anew, or give the --out and --for that it was begun with",
      subject: path,
      cause: error,
    });
  });
}

/** A training for people: its last losses, and where the gates are. */
function gatesText({ about: { method, model, step, seconds, curve } }: GatesFile, out: string): string {
  const losses = Object.entries(curve.at(-1) ?? {}).map(([name, value]) => `${name} ${value.toPrecision(3)}`);
  return [
    `gates of ${method} for ${model.ref}: ${counted(step, "step")} in ${seconds.toFixed(0)} s`,
    `last losses: ${losses.join(", ")}`,
    `Written to ${out}.`,
  ].join("\n");
}
