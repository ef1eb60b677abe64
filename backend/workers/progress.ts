import type { HandlerContext } from "./requests/index.ts";

/** Tells the parent how far a handler is: what jobs keep and requests stream. */
export function progressTo(emit: HandlerContext["emit"]): (done: number, total: number, label: string) => void {
  return (done, total, label) => void emit({ event: "progress", done, total, label });
}
