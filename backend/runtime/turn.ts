/**
 * Lets others have their turn between two steps of long work: what must be answered soon is answered then, and who gave the work up
 * is heard. No tensor may be left to a tidy over it, for that of another work would take it away.
 * @throws what the work was given up with
 */
export type Turn = () => Promise<void>;

/** Lets signals, timers and others' work through, which native work blocks. */
export function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The turn of work that nobody else waits for: the event loop's. @param signal gives the work up */
export function loopTurn(signal?: AbortSignal): Turn {
  return async () => {
    await pause();
    signal?.throwIfAborted();
  };
}
