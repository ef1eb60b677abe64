import { HeadscopeError, unknownName } from "../../common/errors.ts";
import type { RunPlace } from "../../common/run-reference.ts";
import { checkpointFile, checkpointSteps, runIds } from "../../paths.ts";

/** A checkpoint of a run that is there. */
export interface RunCheckpointFile {
  readonly path: string;
  /** run:ID@step. */
  readonly ref: string;
  readonly step: number;
}

/**
 * The file of a run's checkpoint at a step, or of its last one.
 * @throws HeadscopeError `usage` for an unknown run or a step that it was not saved at, `missing` where it has no checkpoint yet
 */
export function runCheckpointFile({ id, step }: RunPlace): RunCheckpointFile {
  const steps = checkpointSteps(id);
  if (steps.length === 0) {
    if (!runIds().includes(id)) throw unknownName("run", id, runIds());
    throw new HeadscopeError("missing", `run ${id} has no checkpoint yet`, {
      remedy: `wait for it, or go on with \`headscope train --resume ${id}\``,
    });
  }
  if (step !== undefined && !steps.includes(step))
    throw new HeadscopeError("usage", `run ${id} has no checkpoint at step ${step}`, {
      remedy: `choose one of ${steps.join(", ")}`,
    });
  const saved = step ?? steps.at(-1)!;
  return { path: checkpointFile(id, saved), ref: `run:${id}@${saved}`, step: saved };
}
