import { HeadscopeError } from "../errors.ts";
import { SELECTION_RULES, type SelectionRule } from "../words.ts";
import { rankTable } from "./table.ts";

/** A rule by which scores become a choice; exactly one of the three. */
export interface HeadSelection {
  /** This many of the best KV heads. */
  readonly top?: number | undefined;
  /** DuoAttention's sparsity, in [0, 1]: the share of KV heads, lowest scores first, that is not chosen. */
  readonly quantile?: number | undefined;
  /** Every KV head that scores at least this. */
  readonly threshold?: number | undefined;
}

const CHOICES = "give exactly one of top, quantile and threshold";

/**
 * The rule that is given.
 * @throws HeadscopeError `usage` when there is none, or more than one
 */
export function oneRule(rule: HeadSelection): { name: SelectionRule; value: number } {
  const rules = SELECTION_RULES.filter((name) => rule[name] !== undefined);
  const [name] = rules;
  if (name === undefined || rules.length > 1) {
    const what = rules.length === 0 ? "no rule to choose heads by" : `${rules.join(" and ")} cannot go together`;
    throw new HeadscopeError("usage", what, { remedy: CHOICES });
  }
  return { name, value: rule[name]! };
}

/**
 * Chooses the heads of a table. Equal scores are told apart by position: the earlier layer, then the earlier head, is
 * the better one, where DuoAttention adds noise below 1e-6.
 *
 * `quantile` s leaves out what `score >= quantile(scores, s)` leaves out when all scores differ: the ceil(s (n - 1))
 * lowest of n; 0 leaves out none and 1 leaves out all.
 * @param values [layers, heads or kvHeads]
 * @returns [layers, heads or kvHeads], true for the chosen
 * @throws HeadscopeError `usage` for a value out of range
 * @see DuoAttention (Xiao et al. 2024), sparsify_attention_heads
 */
export function choose(values: readonly (readonly number[])[], rule: HeadSelection): boolean[][] {
  const { name, value } = oneRule(rule);
  const ranked = rankTable(values);
  const choice = values.map((row) => row.map(() => false));
  for (const { layer, head } of ranked.slice(0, countChosen(name, value, ranked))) choice[layer]![head] = true;
  return choice;
}

function countChosen(name: SelectionRule, value: number, ranked: readonly { value: number }[]): number {
  const count = ranked.length;
  if (name === "top") {
    if (!Number.isInteger(value) || value < 0 || value > count)
      throw outOfRange(name, value, `a whole number from 0 to ${count}, the KV heads of the model`);
    return value;
  }
  if (name === "threshold") {
    if (!Number.isFinite(value)) throw outOfRange(name, value, "a number");
    return ranked.filter((entry) => entry.value >= value).length;
  }
  if (!(value >= 0 && value <= 1)) throw outOfRange(name, value, "a share from 0 to 1");
  if (value === 1) return 0;
  // 0.07 x 100 is 7.000000000000001 in floating point: a whole number of heads must not become one more.
  return count - Math.ceil(value * (count - 1) - 1e-9);
}

function outOfRange(name: SelectionRule, value: number, allowed: string): HeadscopeError {
  return new HeadscopeError("usage", `${name} cannot be ${value}`, { remedy: `give ${allowed}` });
}
