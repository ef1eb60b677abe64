/** Sentences that say nothing of the fact which stands among them. */
const FILLER = [
  "The harbour was quiet in the morning, and the boats lay still.",
  "A clerk carried the post up the hill before the shops had opened.",
  "Two painters worked on the gate of the school without a word.",
  "The market sold apples, candles, rope and good brown paper.",
  "In the afternoon the wind came from the east and brought dust.",
  "An old bus waited at the corner, but nobody wished to leave.",
  "The bells of the chapel rang once, and then the town was silent.",
  "Somebody had written the names of the streets on a wooden board.",
  "Children counted the geese that crossed the field behind the mill.",
  "The cook tasted the broth, shook her head and added more salt.",
];

/** The sentence that the question is about. */
export const FACT = "The keeper of the lighthouse was called Marguerite Oldacre.";
const QUESTION =
  "Question: What was the keeper of the lighthouse called?\nAnswer: The keeper of the lighthouse was called";

/**
 * A text with one fact near its beginning, filler after it and a question about the fact at its end: it takes heads that
 * reach far back to answer.
 * @param sentences of filler, about 14 tokens each
 */
export function longExample(sentences: number): string {
  const filler = Array.from(
    { length: sentences },
    (_, i) => FILLER[(i * 3 + Math.floor(i / FILLER.length)) % FILLER.length]!,
  );
  const before = Math.max(1, Math.floor(sentences / 6));
  return `${[...filler.slice(0, before), FACT, ...filler.slice(before)].join(" ")}\n\n${QUESTION}`;
}
