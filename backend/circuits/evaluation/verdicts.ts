import type { CircuitEvaluation, Interval } from "../../common/api/circuits.ts";

type Measured = Pick<
  CircuitEvaluation,
  "faithfulness" | "completeness" | "minimality" | "random" | "stability" | "others" | "templates"
>;
type Verdict = CircuitEvaluation["verdicts"][number];

/** Limits of the verdicts, as they were fixed before any circuit was looked at. */
const LIMITS = { faithful: 0.8, complete: 0.8, minimal: 0.9, stable: 0.5 };

/**
 * Verdicts on a circuit: a claim holds where the whole interval is beyond its limit, does not hold where none of it is, and is
 * undecided between, or without an interval, which takes two pairs.
 */
export function verdictsOf(measured: Measured): Verdict[] {
  const { faithfulness, completeness, minimality, random, stability, others } = measured;
  const worst = weakestTemplate(measured);
  const best = Math.max(...random.faithfulness);
  return [
    verdict("faithful", "Alone the circuit keeps the answer", faithfulness, LIMITS.faithful),
    verdict("complete", "Without the circuit nothing of the answer is left", completeness, LIMITS.complete),
    {
      name: "minimal",
      statement: "The circuit needs its edges",
      check: `at least ${LIMITS.minimal} of the edges that were tried lose 0.01 of faithfulness or more`,
      verdict: minimality.needed >= LIMITS.minimal ? "holds" : "does not hold",
      why: `${minimality.needed.toFixed(2)} of the ${minimality.tried} edges that were tried are needed`,
    },
    {
      ...verdict("chosen", "No random circuit of its size keeps as much", faithfulness, best),
      check: `the faithfulness, all its interval, is above that of ${random.draws} random circuits with as many edges into every layer`,
    },
    ...(stability
      ? [verdict("stable", "Its method finds it again on resamples of the pairs", stability, LIMITS.stable)]
      : []),
    ...(worst
      ? [
          {
            ...verdict("robust", "It keeps the answer in every wording", worst, LIMITS.faithful),
            check: `at least ${shown(LIMITS.faithful)} on the template where it keeps least, with all its interval`,
            why: `${whyOf(worst)}, of ${worst.template}`,
          },
        ]
      : []),
    ...Object.entries(others).map(([name, measured]) =>
      verdict(`faithful on ${name}`, `It keeps the answer of the pairs of ${name}`, measured, LIMITS.faithful),
    ),
  ];
}

/** The template on whose pairs a circuit keeps least, with the interval there; undefined where there are no several. */
export function weakestTemplate({ templates }: Pick<CircuitEvaluation, "templates">) {
  const all = Object.entries(templates ?? {}).map(([template, measured]) => ({ template, ...measured }));
  return all.toSorted((a, b) => a.value - b.value)[0];
}

const shown = (x: number): string => x.toFixed(2);

function whyOf({ value, low, high }: Interval): string {
  const within =
    low === null || high === null ? "one pair, so no interval" : `95 % between ${shown(low)} and ${shown(high)}`;
  return `${shown(value)}, ${within}`;
}

function verdict(name: string, statement: string, measured: Interval, limit: number): Verdict {
  const { low, high } = measured;
  const word =
    low === null || high === null ? "undecided" : low >= limit ? "holds" : high < limit ? "does not hold" : "undecided";
  return {
    name,
    statement,
    check: `at least ${shown(limit)}, with all its interval`,
    verdict: word,
    why: whyOf(measured),
  };
}
