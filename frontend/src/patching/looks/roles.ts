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

/**
 * The roles that a head's numbers suggest, with the numbers. At the last position: a name mover looks at the answer and writes for
 * it; a negative one writes against it, and looks at either answer; an S-inhibition head looks at the wrong answer and helps without
 * writing directly. Elsewhere in the prompt: what its scores say.
 * @see Wang et al. 2023, Interpretability in the Wild, section 3
 */
export function rolesOf({ weights, direct, share, scores }: HeadEvidence, places: AnswerPlaces): Role[] {
  const at = (positions: readonly number[]): number => positions.reduce((sum, p) => sum + (weights[p] ?? 0), 0);
  const [answer, wrong] = [at(places.answer), at(places.wrong)];
  const roles: Role[] = [];
  if (answer >= LOOKS && direct >= COUNTS)
    roles.push({
      name: "name mover",
      why: `looks ${text(answer)} at the answer, writes ${percent(direct)} of the difference`,
    });
  else if (Math.max(answer, wrong) >= LOOKS && direct <= -COUNTS)
    roles.push({
      name: "negative name mover",
      why: `looks ${answer >= wrong ? `${text(answer)} at the answer` : `${text(wrong)} at the wrong answer`}, writes ${percent(direct)} of the difference`,
    });
  else if (wrong >= LOOKS && Math.abs(share) >= COUNTS && Math.abs(direct) < Math.abs(share))
    roles.push({
      name: "S-inhibition",
      why: `looks ${text(wrong)} at the wrong answer, moves ${percent(share)}, of which ${percent(direct)} directly`,
    });
  for (const [probe, name] of Object.entries(PROBE_ROLES)) {
    const score = scores[probe];
    if (score !== undefined && score >= SCORES) roles.push({ name, why: `score ${text(score)}` });
  }
  return roles;
}

/** Positions of both answers among a prompt's tokens. */
export function answerPlaces(ids: readonly number[], answers: { answer: number; wrong: number }): AnswerPlaces {
  const of = (id: number): number[] => ids.flatMap((each, position) => (each === id ? [position] : []));
  return { answer: of(answers.answer), wrong: of(answers.wrong) };
}
