/** Names of the sizes in which an experiment can be run. */
export const PRESETS = ["quick", "full"] as const;
export type Preset = (typeof PRESETS)[number];
