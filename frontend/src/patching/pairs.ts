import type { PairInput } from "../../../backend/server/api.ts";

/** Pairs that SmolLM2-135M tells apart, each with what it shows. */
export const EXAMPLES: Readonly<Record<string, PairInput>> = {
  "Copying a name (induction)": {
    clean: "The doctor met Alice Brown. Later, the doctor called Alice",
    corrupt: "The doctor met Alice Green. Later, the doctor called Alice",
    answer: " Brown",
    wrong: " Green",
  },
  "Who receives (indirect object)": {
    clean: "When Mary and John went to the store, John gave a drink to",
    corrupt: "When Mary and John went to the store, Mary gave a drink to",
    answer: " Mary",
    wrong: " John",
  },
  "A fact (capital)": {
    clean: "The capital of France is",
    corrupt: "The capital of Italy is",
    answer: " Paris",
    wrong: " Rome",
  },
  "What comes next (days)": {
    clean: "Monday, Tuesday, Wednesday,",
    corrupt: "Monday, Tuesday, Friday,",
    answer: " Thursday",
    wrong: " Saturday",
  },
};

/** Room for the second copy to break off half-way. */
const SEGMENT = 12;

/**
 * A pair for models without a tokenizer: a segment that is repeated half, which calls for the token that followed the first
 * time; in the corrupt prompt another one did.
 */
export function repeatedPair(vocabulary: number, context: number): PairInput {
  const length = Math.max(2, Math.min(SEGMENT, Math.floor((2 * (context - 1)) / 3), vocabulary - 2));
  // Distinct tokens, BOS (0) apart; one more stands in for the answer.
  const tokens = Array.from({ length: length + 1 }, (_, i) => 1 + ((i * stride(vocabulary - 1)) % (vocabulary - 1)));
  const wrong = tokens.pop()!;
  const at = Math.floor(length / 2);
  const again = tokens.slice(0, at);
  const clean = [0, ...tokens, ...again];
  return { clean, corrupt: clean.with(1 + at, wrong), answer: tokens[at]!, wrong };
}

/** A step that visits every token before one comes again. */
function stride(count: number): number {
  const common = (a: number, b: number): number => (b === 0 ? a : common(b, a % b));
  let step = Math.max(1, Math.floor(count * 0.38));
  while (common(step, count) !== 1) step++;
  return step;
}

/** What a field of a prompt holds: the text, or ids with spaces. */
export function sideText(side: PairInput["clean"]): string {
  return typeof side === "string" ? side : side.join(" ");
}

/** A prompt as typed. @param textual whether the model reads texts @returns undefined for what are no ids */
export function readSide(text: string, textual: boolean): PairInput["clean"] | undefined {
  if (textual) return text === "" ? undefined : text;
  const words = text.trim().split(/[\s,]+/);
  const ids = words.map(Number);
  return text.trim() !== "" && ids.every((id) => Number.isInteger(id) && id >= 0) ? ids : undefined;
}

/** What a field of an answer holds: the text; an id as #7, or alone in models without texts. */
export function answerText(answer: PairInput["answer"], textual: boolean): string {
  return typeof answer === "string" ? answer : `${textual ? "#" : ""}${answer}`;
}

/** An answer as typed. @returns undefined for what is no token */
export function readAnswer(text: string, textual: boolean): PairInput["answer"] | undefined {
  const id = /^#(\d+)$/.exec(text.trim())?.[1] ?? (textual ? undefined : /^\s*(\d+)\s*$/.exec(text)?.[1]);
  if (id !== undefined) return Number(id);
  return textual && text !== "" ? text : undefined;
}

/** What `--pair-file` takes: one pair, or an array of several. */
export function pairFile(pairs: readonly PairInput[]): string {
  return `${JSON.stringify(pairs.length === 1 ? pairs[0] : pairs, undefined, 2)}\n`;
}

/**
 * Pairs from the text of a pair file.
 * @throws Error in words for the reader
 */
export function readPairFile(text: string): PairInput[] {
  const value: unknown = JSON.parse(text);
  const pairs: unknown[] = Array.isArray(value) ? value : [value];
  if (pairs.length === 0) throw new Error("The file holds no pair.");
  return pairs.map((pair, p) => {
    const { clean, corrupt, answer, wrong } = (pair ?? {}) as Partial<Record<keyof PairInput, unknown>>;
    const side = (given: unknown): given is PairInput["clean"] =>
      typeof given === "string" || (Array.isArray(given) && given.every(Number.isInteger));
    const token = (given: unknown): given is PairInput["answer"] =>
      typeof given === "string" || Number.isInteger(given);
    if (side(clean) && side(corrupt) && token(answer) && token(wrong)) return { clean, corrupt, answer, wrong };
    throw new Error(`Pair ${p} is not {"clean": …, "corrupt": …, "answer": …, "wrong": …} of texts or token ids.`);
  });
}
