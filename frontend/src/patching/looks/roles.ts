/** What is known of a head on a pair. */
export interface HeadEvidence {
  /** Attention of the last position by token [tokens], unweighted. */
  readonly weights: readonly number[];
  /** What it writes straight into the logit difference, as a share of that; NaN where it is not known. */
  readonly direct: number;
  /** The share that patching it moves; NaN where it is not known. */
  readonly share: number;
  /** Scores of the head by probe, as anything measured them. */
  readonly scores: Readonly<Record<string, number | undefined>>;
}

/** Positions of the two answers in a prompt. */
export interface AnswerPlaces {
  readonly answer: readonly number[];
  readonly wrong: readonly number[];
}

/** A role that the numbers suggest, with these numbers. */
export interface Role {
  readonly name: string;
  readonly why: string;
}

/** Attention from which on a head looks at something. */
const LOOKS = 0.2;
/** Share of the logit difference from which on a head moves or counts something. */
const COUNTS = 0.03;
/** Score from which on a head is one of its kind. */
const SCORES = 0.4;

/** Probes that name a role by themselves. */
const PROBE_ROLES: Readonly<Record<string, string>> = {
  induction: "induction",
  "duplicate-token": "duplicate token",
  "previous-token": "previous token",
};

const text = (value: number): string => value.toFixed(2).replace("-", "−");
const percent = (value: number): string => `${Math.round(100 * value)}%`.replace("-", "−");

/** A role at the last position. */
interface EndRole {
  readonly name: string;
  /** @param answer, wrong attention to each @param direct, share as in `HeadEvidence` */
  fits(looks: { answer: number; wrong: number }, effects: { direct: number; share: number }): boolean;
  /** The answer that it looks at; undefined for the one that it looks at more. */
  readonly at?: "answer" | "wrong";
}

/** Roles at the last position, of which a head has the first that fits. */
const END_ROLES: readonly EndRole[] = [
  {
    name: "name mover",
    at: "answer",
    fits: ({ answer, wrong }, { direct }) => answer >= LOOKS && answer >= wrong && direct >= COUNTS,
  },
  {
    name: "copy suppression",
    at: "wrong",
    fits: ({ wrong }, { direct }) => wrong >= LOOKS && direct >= COUNTS,
  },
  {
    name: "S-inhibition",
    at: "wrong",
    fits: ({ wrong }, { direct, share }) => wrong >= LOOKS && share >= COUNTS && Math.abs(direct) < share / 2,
  },
  {
    name: "negative name mover",
    fits: ({ answer, wrong }, { direct, share }) =>
      Math.max(answer, wrong) >= LOOKS && direct <= -COUNTS && !(share >= COUNTS),
  },
];

/**
 * The roles that a head's numbers suggest, with the numbers. At the last position: a name mover looks at the answer and writes for
 * it; copy suppression looks at the wrong answer and writes against that; an S-inhibition head looks at the wrong answer and brings
 * the answer back through later heads, writing little itself; a negative name mover looks at an answer and writes against the right
 * one. Elsewhere in the prompt: what its scores say.
 * @see Wang et al. 2023, Interpretability in the Wild, section 3; McDougall et al. 2023, Copy Suppression
 */
export function rolesOf({ weights, direct, share, scores }: HeadEvidence, places: AnswerPlaces): Role[] {
  const at = (positions: readonly number[]): number => positions.reduce((sum, p) => sum + (weights[p] ?? 0), 0);
  const looks = { answer: at(places.answer), wrong: at(places.wrong) };
  const end = END_ROLES.find(({ fits }) => fits(looks, { direct, share }));
  const roles = end === undefined ? [] : [{ name: end.name, why: whyOf(end, looks, { direct, share }) }];
  for (const [probe, name] of Object.entries(PROBE_ROLES)) {
    const score = scores[probe];
    if (score !== undefined && score >= SCORES) roles.push({ name, why: `score ${text(score)}` });
  }
  return roles;
}

function whyOf(
  { at }: EndRole,
  looks: { answer: number; wrong: number },
  { direct, share }: { direct: number; share: number },
): string {
  const side = at ?? (looks.answer >= looks.wrong ? "answer" : "wrong");
  const target = side === "answer" ? "the answer" : "the wrong answer";
  const moves = Number.isNaN(share) ? "" : `, moves ${percent(share)} when patched`;
  return `looks ${text(looks[side])} at ${target}, writes ${percent(direct)} of the difference directly${moves}`;
}

/** Positions of both answers among a prompt's tokens. */
export function answerPlaces(ids: readonly number[], answers: { answer: number; wrong: number }): AnswerPlaces {
  const of = (id: number): number[] => ids.flatMap((each, position) => (each === id ? [position] : []));
  return { answer: of(answers.answer), wrong: of(answers.wrong) };
}
