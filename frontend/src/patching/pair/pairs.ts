import type { PairInput } from "../../../../backend/common/api/patching.ts";
import type { Candidate } from "../../../../backend/common/api/prompts.ts";

/** The question of Wang et al. 2023: which heads move the name that receives? */
export const INDIRECT_OBJECT: PairInput = {
  clean: "When Mary and John went to the store, John gave a drink to",
  corrupt: "When Mary and John went to the store, Mary gave a drink to",
  answer: " Mary",
  wrong: " John",
};

/** Pairs that SmolLM2-135M tells apart, each with what it shows. */
export const EXAMPLES: Readonly<Record<string, PairInput>> = {
  "Copying a name (induction)": {
    clean: "The doctor met Alice Brown. Later, the doctor called Alice",
    corrupt: "The doctor met Alice Green. Later, the doctor called Alice",
    answer: " Brown",
    wrong: " Green",
  },
  "Who receives (indirect object)": INDIRECT_OBJECT,
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

/** Pairs for models without a tokenizer: what a segment that is repeated half calls for next. */
export const TOKEN_EXAMPLES: Readonly<Record<string, (vocabulary: number, context: number) => PairInput>> = {
  "Which token it came after (keys)": precedingPair,
  "Which token came there (values)": repeatedPair,
};

interface Segment {
  /** Distinct tokens, BOS (0) apart. */
  readonly tokens: readonly number[];
  /** One that is not among them. */
  readonly other: number;
  /** Number of them that come again at the end. */
  readonly again: number;
}

function segment(vocabulary: number, context: number): Segment {
  const length = Math.max(2, Math.min(SEGMENT, Math.floor((2 * (context - 1)) / 3), vocabulary - 2));
  const tokens = Array.from({ length: length + 1 }, (_, i) => 1 + ((i * stride(vocabulary - 1)) % (vocabulary - 1)));
  const other = tokens.pop()!;
  return { tokens, other, again: Math.floor(length / 2) };
}

/**
 * A segment that is repeated half, which calls for the token that followed the first time; in the corrupt prompt another one
 * did. What decides is copied, so values matter and keys do not: both runs look at the same place.
 */
export function repeatedPair(vocabulary: number, context: number): PairInput {
  const { tokens, other, again } = segment(vocabulary, context);
  const clean = [0, ...tokens, ...tokens.slice(0, again)];
  return { clean, corrupt: clean.with(1 + again, other), answer: tokens[again]!, wrong: other };
}

/**
 * A segment that is repeated half; in the corrupt prompt the tokens before two of its tokens have changed places, so that the
 * last token calls for the other of the two. What decides is where to look: the keys of heads that match it with what came before.
 */
export function precedingPair(vocabulary: number, context: number): PairInput {
  const { tokens, again } = segment(vocabulary, context);
  // The two stand two tokens apart, so that neither is the other's predecessor; a segment too short for that has but one to copy.
  const [first, second] = [again, again + 2];
  if (again < 1 || second >= tokens.length) return repeatedPair(vocabulary, context);
  const clean = [0, ...tokens, ...tokens.slice(0, again)];
  const corrupt = clean.with(first, tokens[second - 1]!).with(second, tokens[first - 1]!);
  return { clean, corrupt, answer: tokens[first]!, wrong: tokens[second]! };
}

/** A step that visits every token before one comes again. */
function stride(count: number): number {
  const common = (a: number, b: number): number => (b === 0 ? a : common(b, a % b));
  let step = Math.max(1, Math.floor(count * 0.38));
  while (common(step, count) !== 1) step++;
  return step;
}

/** Text of a prompt's field: the text, or ids with spaces. */
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

/** Stands between several tokens that count as one answer. */
const OR = " | ";
/** A token as a pair has it. */
type GivenToken = Exclude<PairInput["answer"], readonly unknown[]>;

/** Text of an answer's field: the text; an id as #7, or alone in models without texts; several tokens with a bar between. */
export function answerText(answer: PairInput["answer"], textual: boolean): string {
  const tokens = Array.isArray(answer) ? (answer as readonly GivenToken[]) : [answer];
  return tokens.map((token) => (typeof token === "string" ? token : `${textual ? "#" : ""}${token}`)).join(OR);
}

/** An answer as typed. @returns undefined for what is no token, nor several */
export function readAnswer(text: string, textual: boolean): PairInput["answer"] | undefined {
  const tokens = text.split(OR).map((part) => readToken(part, textual));
  if (!tokens.every((token) => token !== undefined)) return undefined;
  return tokens.length === 1 ? tokens[0] : tokens;
}

function readToken(text: string, textual: boolean): GivenToken | undefined {
  const id = /^#(\d+)$/.exec(text.trim())?.[1] ?? (textual ? undefined : /^\s*(\d+)\s*$/.exec(text)?.[1]);
  if (id !== undefined) return Number(id);
  return textual && text !== "" ? text : undefined;
}

/** Probability below which an answer is all but impossible. */
const HARDLY = 1e-3;
/** Probability from which on another token is likely. */
const LIKELY = 0.1;

/**
 * The token that was probably meant by an answer that is all but impossible: a likely one that reads the same but for spaces and
 * case at its ends.
 * @param found the token that the typed text stands for @param likely the likeliest tokens there
 */
export function meantToken(
  typed: PairInput["answer"],
  found: Candidate,
  likely: readonly Candidate[],
): Candidate | undefined {
  if (typeof typed !== "string" || found.probability >= HARDLY) return undefined;
  const plain = (text: string): string => text.trim().toLowerCase();
  return likely.find(
    ({ id, text, probability }) => id !== found.id && probability >= LIKELY && plain(text) === plain(typed),
  );
}

/** The value of `--pair-file`: one pair, or an array of several. */
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
    const token = (given: unknown): given is GivenToken => typeof given === "string" || Number.isInteger(given);
    const answers = (given: unknown): given is PairInput["answer"] =>
      token(given) || (Array.isArray(given) && given.length > 0 && given.every(token));
    if (side(clean) && side(corrupt) && answers(answer) && answers(wrong)) return { clean, corrupt, answer, wrong };
    throw new Error(`Pair ${p} is not {"clean": …, "corrupt": …, "answer": …, "wrong": …} of texts or token ids.`);
  });
}
