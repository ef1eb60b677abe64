import { sortHeads } from "../../state/codecs.ts";
import type { Extra } from "./interventions.ts";

/** The heads that are left in for now, after one was switched. */
export function setLeftIn(heads: readonly string[], head: string, leftIn: boolean): string[] {
  return sortHeads(leftIn ? [...heads, head] : removeHead(heads, head));
}

/** The heads without one. */
export function removeHead(heads: readonly string[], head: string): string[] {
  return heads.filter((each) => each !== head);
}

/** The entry, switched on or off. */
export function setExtra({ intervention }: Extra, on: boolean): Extra {
  return on ? { intervention } : { intervention, off: true };
}
