import type { Window } from "../transformer/attention.ts";
import { slotsUsed } from "./window.ts";

/** Slots of a page: as many rows as the kernels attend to in one piece, so that no piece lies in two pages. */
export const PAGE = 128;
/** Slots with which a head's last page begins; it is doubled until it is whole. */
const LEAST = 16;

/** Rows that a head which holds `length` tokens has memory for. */
export function rowsAllocated(length: number, window?: Window): number {
  const slots = slotsUsed(length, window);
  const last = slots % PAGE;
  if (last === 0) return slots;
  const rows = Math.max(LEAST, 2 ** Math.ceil(Math.log2(last)));
  const most = window ? window.sink + window.recent - (slots - last) : PAGE;
  return slots - last + Math.min(rows, most);
}
