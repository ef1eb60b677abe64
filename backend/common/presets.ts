/** Names of the sizes in which an experiment can be run. */
export const PRESETS = ["quick", "full"] as const;
export type Preset = (typeof PRESETS)[number];

/** A parameter that differs from the preset's, as `--param` takes it. */
export interface ParameterChange {
  readonly name: string;
  readonly value: string;
}

/** The setting of a report in words: "quick", or "quick, 2 changed: seeds 5, steps 500". */
export function settingText({ preset, changed }: { preset: string; changed: readonly ParameterChange[] }): string {
  if (changed.length === 0) return preset;
  return `${preset}, ${changed.length} changed: ${changed.map(({ name, value }) => `${name} ${value}`).join(", ")}`;
}
