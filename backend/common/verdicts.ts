/** Bearing of a verdict: for the claim, against it, or leaving it open. */
export type Tone = "good" | "bad" | "open";

/** Verdicts with their bearing on the claim; the last two say that the run was smaller than its preset, so that nothing is decided. */
const TONES = {
  reproduced: "good",
  "not reproduced": "bad",
  "inconclusive at this scale": "open",
  "too few seeds to tell": "open",
  "not trained to the end": "open",
} as const satisfies Record<string, Tone>;

export type Verdict = keyof typeof TONES;

/** Every verdict that there is. */
export const VERDICTS = Object.keys(TONES) as [Verdict, ...Verdict[]];

/** The bearing of a verdict; one of another version leaves its claim open. */
export function toneOf(verdict: string): Tone {
  return Object.hasOwn(TONES, verdict) ? TONES[verdict as Verdict] : "open";
}
