import { above, real, whole } from "../options.ts";

/** Rules of what shapes a sample beside its temperature, and of the penalty, in the order in which they are applied. */
export const SAMPLING_RULES = {
  repetitionPenalty: above(0),
  topK: whole(1),
  topP: real(0, 1),
  minP: real(0, 1),
} as const;

/** The names of these options. */
export type SamplingName = keyof typeof SAMPLING_RULES;

/** Of options those that are given of these. */
export function samplingOf(options: { readonly [K in SamplingName]?: number | undefined }): {
  [K in SamplingName]?: number;
} {
  const names = Object.keys(SAMPLING_RULES) as SamplingName[];
  return Object.fromEntries(names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]]])));
}
