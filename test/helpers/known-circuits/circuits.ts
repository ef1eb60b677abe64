import type { TokenPair } from "../../../backend/circuits/pairs.ts";
import { Random } from "../../../backend/common/random.ts";
import type { Model } from "../../../backend/models/model.ts";
import { type HandWrittenHead, handWritten, SIZE } from "./hand-written.ts";

/** A transformer whose circuit is known because its weights were written by hand, and pairs that need all of it. */
export interface KnownCircuit {
  readonly name: string;
  model(): Model;
  readonly pairs: readonly TokenPair[];
  /** Its edges, as "from -> to". */
  readonly edges: readonly string[];
}

const SHARP = 8;
/** Attends to the token before; layer 0. */
const previous = (into: HandWrittenHead["into"]): HandWrittenHead => ({
  query: { from: "position", route: (p) => (p > 0 ? p - 1 : 0), gain: SHARP },
  key: { from: "position" },
  value: { from: "token" },
  into,
});
/** Finds the token whose predecessor is the present token, and predicts it. */
const induction: HandWrittenHead = {
  query: { from: "token", gain: SHARP },
  key: { from: "previous" },
  value: { from: "token" },
  into: "output",
};
/** Heads that move much and change nothing. */
const even: HandWrittenHead = { value: { from: "token" }, into: "unread" };
const duplicate: HandWrittenHead = {
  query: { from: "token", gain: SHARP },
  key: { from: "token" },
  value: { from: "position" },
  into: "unread",
};

const shifted = (by: number) => (token: number) => (token + by) % SIZE;

/** Pairs drawn from a rule. */
function drawn(count: number, pair: (random: Random) => TokenPair): TokenPair[] {
  return Array.from({ length: count }, (_, seed) => pair(new Random(seed)));
}

/**
 * Induction in two layers: the keys of 1.0 are made by the previous-token head 0.1. Of the pairs one changes the token before
 * the one to copy (the key), one the token itself (the value), one the last token (the query).
 */
export const INDUCTION: KnownCircuit = {
  name: "induction",
  model: () =>
    handWritten("induction", [
      { heads: [even, previous("previous"), duplicate] },
      { heads: [induction, duplicate, even] },
    ]),
  pairs: drawn(6, (random) => {
    const [a, b, c, d, e, f] = random.permutation(SIZE) as [number, number, number, number, number, number];
    const clean = [c, a, b, d, e, a]; // ... a b ... a: b comes next
    const kind = random.integer(0, 3);
    if (kind === 0) return { clean, corrupt: [c, f, b, d, e, a], answer: b, wrong: d };
    if (kind === 1) return { clean, corrupt: [c, a, f, d, e, a], answer: b, wrong: f };
    return { clean, corrupt: [c, a, b, d, e, d], answer: b, wrong: e };
  }),
  edges: ["embed -> a0.h1<v>", "a0.h1 -> a1.h0<k>", "embed -> a1.h0<q>", "embed -> a1.h0<v>", "a1.h0 -> logits"],
};

/** A previous-token head beside the direct way: the logits favour the token before and the token itself. */
export const SKIP: KnownCircuit = {
  name: "previous token with skip",
  model: () =>
    handWritten(
      "skip",
      [{ heads: [duplicate, even, previous("output")] }, { heads: [even, duplicate, even] }],
      ["output", "token"],
    ),
  pairs: drawn(4, (random) => {
    const [a, b, c, d, e, f] = random.permutation(SIZE) as [number, number, number, number, number, number];
    const tokens = { clean: [e, f, a, b], corrupt: [e, f, c, d] };
    return random.integer(0, 2) === 0 ? { ...tokens, answer: a, wrong: c } : { ...tokens, answer: b, wrong: d };
  }),
  edges: ["embed -> a0.h2<v>", "a0.h2 -> logits", "embed -> logits"],
};

/** A lookup in two steps: 0.0 fetches the token before, the MLP of layer 0 looks it up, that of layer 1 looks up what it found. */
export const LOOKUP: KnownCircuit = {
  name: "two-step lookup",
  model: () =>
    handWritten("lookup", [
      { heads: [previous("previous"), even, duplicate], mlp: { from: "previous", route: shifted(3), into: "middle" } },
      { heads: [duplicate, even, even], mlp: { from: "middle", route: shifted(5), into: "output" } },
    ]),
  pairs: drawn(4, (random) => {
    const [a, b, c, d] = random.permutation(SIZE) as [number, number, number, number];
    return { clean: [c, a, d], corrupt: [c, b, d], answer: (a + 8) % SIZE, wrong: (b + 8) % SIZE };
  }),
  edges: ["embed -> a0.h0<v>", "a0.h0 -> m0", "m0 -> m1", "m1 -> logits"],
};

/** All of them. */
export const KNOWN_CIRCUITS: readonly KnownCircuit[] = [INDUCTION, SKIP, LOOKUP];

/**
 * Area under the receiver operating curve: how often an edge of the circuit has a larger score than one outside, ties counting half.
 * @param scores by edge of the model, sizes of scores
 */
export function rocArea(scores: ReadonlyMap<string, number>, truth: readonly string[]): number {
  const inside = truth.map((edge) => scores.get(edge)!);
  const outside = [...scores].filter(([edge]) => !truth.includes(edge)).map(([, score]) => score);
  let wins = 0;
  for (const x of inside) for (const y of outside) wins += x > y ? 1 : x === y ? 0.5 : 0;
  return wins / (inside.length * outside.length);
}
