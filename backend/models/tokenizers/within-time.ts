import { Script } from "node:vm";

/** Key by which the script below finds what it is to do: only code that is started by node:vm can be ended. */
const WORK = Symbol.for("headscope.work");
const script = new Script(`globalThis[Symbol.for(${JSON.stringify(WORK.description)})]()`);
const place = globalThis as unknown as Record<symbol, () => void>;

/**
 * Does synchronous work and ends it when it takes too long, such as a regular expression that backtracks for ever. Costs some
 * 0.06 ms. What the work has changed by then stays changed.
 * @param milliseconds that it may take, 1 or more
 * @param late makes the error for work that was ended
 */
export function withinTime<T>(milliseconds: number, work: () => T, late: () => Error): T {
  const outer = place[WORK];
  let result: { readonly value: T } | undefined;
  place[WORK] = () => {
    result = { value: work() };
  };
  try {
    script.runInThisContext({ timeout: Math.ceil(milliseconds) });
    return result!.value;
  } catch (error) {
    throw (error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT" ? late() : error;
  } finally {
    if (outer === undefined) delete place[WORK];
    else place[WORK] = outer;
  }
}
