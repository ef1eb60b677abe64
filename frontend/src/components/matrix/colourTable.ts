import { heatStops, token } from "../../colours.ts";
import { type Contrast, type ContrastScale, place } from "./contrast.ts";

/**
 * Colours of values, by the upper 19 bits of their f32 form: sign, exponent and 10 bits of the fraction, which is all that a
 * half-precision value has. A pixel then costs one look-up, whatever the contrast, and a new contrast costs one table.
 */
export type ColourTable = Uint32Array;

const SHIFT = 13;
/** Keys of the values that are not negative; the last ones are infinity and NaN. */
const KEYS = 2 ** (31 - SHIFT);
const INFINITY_KEY = 0x7f800000 >>> SHIFT;
/** Colours that are told apart: enough that two neighbours differ by one in a channel at most. */
const STEPS = 1024;

/** The index into a table of the bits of a value. */
export function keyOfBits(bits: number): number {
  return bits >>> SHIFT;
}

/** A colour such as "#5ec962" or "rgb(94, 201, 98)" as a canvas keeps it: bytes red, green, blue, alpha. */
export function packed(colour: string): number {
  const channels = colour.startsWith("#")
    ? [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16))
    : (colour.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  return bytes(channels);
}

/**
 * @param place of a value on the scale, from 0 to 1 @param high the largest value; what lies above takes its colour
 * @param stops colours at even steps of the scale, #rrggbb @param none the colour of NaN
 */
export function colourTable(
  place: (value: number) => number,
  high: number,
  stops: readonly string[],
  none: string,
): ColourTable {
  const colours = Uint32Array.from({ length: STEPS }, (_, i) => mixed(stops, i / (STEPS - 1)));
  const at = (value: number): number => colours[Math.round(place(value) * (STEPS - 1))]!;
  const [bits, float] = views();
  float[0] = high;
  const top = Math.min(INFINITY_KEY, keyOfBits(bits[0]!) + 1);
  float[0] = Math.min(2 ** -24, high * 2 ** -24);
  const bottom = keyOfBits(bits[0]!);

  const table = new Uint32Array(KEYS);
  table.fill(at(0), 0, bottom);
  for (let key = bottom; key < top; key++) {
    bits[0] = key << SHIFT;
    table[key] = at(float[0]!);
  }
  table.fill(at(high), top, INFINITY_KEY + 1);
  table.fill(packed(none), INFINITY_KEY + 1);
  return table;
}

/** The colours that the page has for values on a scale. Reactive on the theme. */
export function themedTable(contrast: Contrast, scale: ContrastScale): ColourTable {
  return colourTable(place(contrast, scale), scale.high, heatStops(), token("--danger"));
}

/** The colour at a place from 0 to 1 between the stops. */
function mixed(stops: readonly string[], at: number): number {
  const first = Math.min(stops.length - 2, Math.floor(at * (stops.length - 1)));
  const share = at * (stops.length - 1) - first;
  const [low, high] = [packed(stops[first]!), packed(stops[first + 1]!)];
  return bytes([0, 8, 16].map((shift) => mix((low >>> shift) & 255, (high >>> shift) & 255, share)));
}

function mix(low: number, high: number, share: number): number {
  return Math.round(low + (high - low) * share);
}

function bytes(channels: readonly number[]): number {
  const [red, green, blue] = channels as [number, number, number];
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function views(): [Uint32Array, Float32Array] {
  const buffer = new ArrayBuffer(4);
  return [new Uint32Array(buffer), new Float32Array(buffer)];
}
