import { counted, signed } from "../backend/common/text.ts";
import type { Verdict } from "../backend/common/words.ts";
import type { ClaimResult } from "./base.ts";

/** A seed's bearing on a claim: for it, against it, or not at all, where what the claim is about did not happen. */
export type Vote = boolean | undefined;

/** Share of the seeds that must bear a claim out. */
const QUORUM = 0.75;

/** The rule of `vote` in words, for the checks of claims. */
export const QUORUM_WORDS = "in at least three quarters of the seeds";

/** Why the order of two events can't be told, see `comesFirst`. */
export const TOO_CLOSE = "the two come too close together to tell";

/**
 * The verdict over seeds: reproduced where at least three quarters bear the claim out; inconclusive where more than a
 * quarter cannot say; else not reproduced.
 * @param what the vote is about, for the reason: "the rise is abrupt"
 * @param missing why a seed could not say: "no in-context ability emerged"
 * @param noun of what votes, default "seed"
 */
export function vote(
  votes: readonly Vote[],
  what: string,
  missing: string,
  noun = "seed",
): { verdict: Verdict; why: string } {
  const passed = votes.filter((each) => each === true).length;
  const silent = votes.filter((each) => each === undefined).length;
  const all = counted(votes.length, noun);
  const borne = `${passed} of ${all}: ${what}`;
  if (votes.length > 0 && passed >= QUORUM * votes.length) return { verdict: "reproduced", why: `${borne}.` };
  if (votes.length === 0 || silent > (1 - QUORUM) * votes.length)
    return { verdict: "inconclusive at this scale", why: `In ${silent} of ${all} ${missing}.` };
  return { verdict: "not reproduced", why: `Only ${borne}${silent > 0 ? `; in ${silent} ${missing}` : ""}.` };
}

/** A count of what a run had, and what its preset asks for. */
export interface Coverage {
  readonly given: number;
  readonly wanted: number;
}

/** The runs and measurements that a claim rests on. */
export interface Basis {
  readonly seeds: Coverage;
  /** Of the parameter that is the experiment's `extent`. */
  readonly extent: Coverage & { readonly name: string };
}

/**
 * A claim's result in the light of what it rests on: with fewer seeds, or fewer steps (or prompts, or texts), than the preset
 * has, nothing is decided, and the verdict says so.
 */
export function weighed(result: ClaimResult, { seeds, extent }: Basis): ClaimResult {
  const of = ({ given, wanted }: Coverage) => `${given.toLocaleString("en")} of ${wanted.toLocaleString("en")}`;
  const undecided = (verdict: Verdict, reason: string): ClaimResult => ({
    ...result,
    verdict,
    why: `${reason}. So far: ${result.why}`,
  });
  if (seeds.given < seeds.wanted) return undecided("too few seeds to tell", `Too few seeds to tell (${of(seeds)})`);
  if (extent.given < extent.wanted)
    return extent.name === "steps"
      ? undecided("not trained to the end", `Trained for ${of(extent)} steps`)
      : undecided("too little measured to tell", `Measured on ${of(extent)} ${extent.name.replaceAll("_", " ")}`);
  return result;
}

/** Least change of an accuracy that counts as one. */
const CHANGE = 0.2;
/** Change of an accuracy against the claim that counts. */
const AGAINST = 0.05;

/** The rule of `tradeOff` in words. */
export const TRADE_OFF_WORDS =
  `reproduced where both change by at least ${CHANGE} as claimed, not reproduced where either changes by more than ` +
  `${AGAINST} the other way, else inconclusive`;

/**
 * The verdict on two accuracies that should move apart between the ends of a sweep.
 * @param gain change of the one that should rise @param loss change of the one that should fall, as measured (negative when it falls)
 */
export function tradeOff(gain: number, loss: number): { verdict: Verdict; why: string } {
  const words = `in-context accuracy above guessing changes by ${signed(gain, 2)}, in-weights accuracy by ${signed(loss, 2)}`;
  if (gain >= CHANGE && loss <= -CHANGE) return { verdict: "reproduced", why: `Over the sweep ${words}.` };
  if (gain < -AGAINST || loss > AGAINST) return { verdict: "not reproduced", why: `Over the sweep ${words}.` };
  return { verdict: "inconclusive at this scale", why: `Over the sweep ${words}, less than ${CHANGE} each.` };
}

/** "3 claims reproduced (a, b, c), 1 not reproduced (d)": what a summary begins with. */
export function tally(claims: readonly ClaimResult[]): string {
  const verdicts = [...new Set(claims.map(({ verdict }) => verdict))];
  return verdicts
    .map((verdict) => {
      const ids = claims.filter((claim) => claim.verdict === verdict).map(({ id }) => id);
      return `${ids.length} of ${claims.length} claims ${verdict} (${ids.join(", ")})`;
    })
    .join("; ");
}
