import { HeadscopeError, unknownName } from "../../common/errors.ts";
import { parseReference } from "../../models/sources/reference.ts";
import { checkpointSteps, runIds } from "../../paths.ts";

/**
 * The run that a reference names, and its saved steps.
 * @param flag option for which they are read, such as "--all-steps"; errors name it
 * @throws HeadscopeError for what is no run, for one of its steps, or where nothing is saved
 */
export function savedSteps(ref: string, flag: string): { run: string; steps: number[] } {
  const reference = parseReference(ref, "existing");
  if (reference.kind !== "run")
    throw new HeadscopeError("usage", `${flag} is for runs, and ${ref} is not one`, {
      remedy: `give --model run:ID, or leave ${flag} out`,
    });
  const { id: run, step } = reference;
  if (step !== undefined)
    throw new HeadscopeError("usage", `${flag} and the step of ${ref} cannot go together`, {
      remedy: `give --model run:${run}`,
    });
  const steps = checkpointSteps(run);
  if (steps.length > 0) return { run, steps };
  if (!runIds().includes(run)) throw unknownName("run", run, runIds());
  throw new HeadscopeError("missing", `run ${run} has no saved step yet`, {
    remedy: `train it further: headscope train --resume ${run}`,
  });
}
