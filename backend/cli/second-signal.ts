import { createRequire } from "node:module";
import { builtFile } from "../paths.ts";

/** Environment variable that a process of headscope gives another one that is not to outlive it. */
export const ENDS_WITH_PARENT = "HEADSCOPE_ENDS_WITH_PARENT";

/**
 * From here on a second Ctrl-C or SIGTERM ends this process at once, also while a computation or a native call holds the event
 * loop, which JavaScript's own handlers wait for. Both must have a handler, which the first signal still goes to. Does nothing
 * where it was not compiled.
 */
export function endAtSecondSignal(): void {
  const file = builtFile("second-signal.node");
  if (file === undefined) return;
  try {
    createRequire(import.meta.url)(file);
  } catch {
    // It was compiled for another machine: JavaScript's handlers remain.
  }
}
