import { HeadscopeError } from "../../common/errors.ts";
import { checkOptions, type Rules, whole } from "../../common/options.ts";
import type { ModelConfig } from "../config.ts";
import type { Window } from "../transformer/attention.ts";

/** Slots of a head one after the other that hold consecutive positions. */
export interface Run {
  readonly slot: number;
  readonly position: number;
  readonly count: number;
}

/** The slot of a position in a streaming head's buffer: the first `sink` stay, the rest go round a ring of `recent`. */
export function slotOf(position: number, window: Window | undefined): number {
  if (!window || position < window.sink) return position;
  return window.sink + ((position - window.sink) % window.recent);
}

/** Slots in use after `length` tokens. */
export function slotsUsed(length: number, window: Window | undefined): number {
  return window ? Math.min(length, window.sink + window.recent) : length;
}

/** The runs of slots that a head fills with `length` tokens. */
export function heldRuns(length: number, window: Window | undefined): Run[] {
  if (!window || length <= window.sink + window.recent)
    return length === 0 ? [] : [{ slot: 0, position: 0, count: length }];
  const { sink, recent } = window;
  const newest = (length - sink) % recent;
  const runs = [
    { slot: 0, position: 0, count: sink },
    { slot: sink, position: length - newest, count: newest },
    { slot: sink + newest, position: length - recent, count: recent - newest },
  ];
  return runs.filter(({ count }) => count > 0);
}

/** The positions that runs hold, in the order of their slots. */
export function positionsOf(runs: readonly Run[]): number[] {
  const positions: number[] = [];
  for (const { position, count } of runs) for (let i = 0; i < count; i++) positions.push(position + i);
  return positions;
}

/** Says whether a position before `end` still has its slot once `end` tokens are seen. */
export function survives(position: number, end: number, window: Window | undefined): boolean {
  return !window || position < window.sink || position >= end - window.recent;
}

const WINDOW: Rules<Window> = { sink: whole(0), recent: whole(1) };

/** Insists on a window, or none, for every KV head of every layer. @throws HeadscopeError (usage) */
export function checkWindows(
  windows: readonly (readonly (Window | undefined)[])[] | undefined,
  config: ModelConfig,
): void {
  if (windows === undefined) return;
  const fits = windows.length === config.n_layers && windows.every((row) => row.length === config.n_key_value_heads);
  if (!fits)
    throw new HeadscopeError("usage", "windows are not one for every KV head of every layer", {
      remedy: `give ${config.n_layers} rows of ${config.n_key_value_heads}, undefined for a head that keeps everything`,
    });
  for (const window of windows.flat()) if (window) checkOptions("a window", window, WINDOW);
}
