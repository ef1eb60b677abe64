/** A question whose answer is one of some words. */
export interface ChoiceItem {
  /** Ends before the space of the answer. */
  readonly prompt: string;
  /** Words that it may be, each one token behind a space. */
  readonly choices: readonly string[];
  /** Place of the right one. */
  readonly answer: number;
}

/** Answered questions and one that is open, a blank line between them. @param shots questions that show how one answers */
export function withDemonstrations(shots: readonly ChoiceItem[], item: ChoiceItem): ChoiceItem {
  const shown = shots.map(({ prompt, choices, answer }) => `${prompt} ${choices[answer]}\n\n`);
  return { ...item, prompt: shown.join("") + item.prompt };
}

/** "Paris", "Paris and Rome", "Paris, Rome and Oslo". */
export function listed(words: readonly string[]): string {
  return [words.slice(0, -1).join(", "), words.at(-1)!].filter(Boolean).join(" and ");
}
