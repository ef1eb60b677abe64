import { parameterText } from "../backend/common/command-line.ts";
import type { Claim, Report } from "../backend/common/figures/report.ts";

/** One side of a claim in a comparison; null where that report does not have the claim. */
export type ComparedClaim = Pick<Claim, "verdict" | "why" | "measured">;

/** Two reports of one experiment beside each other. */
export interface ReportComparison {
  /** Parameters that differ, the preset among them; null where a report has none. */
  readonly parameters: readonly { readonly name: string; readonly values: readonly (string | null)[] }[];
  /** Every claim of either, in the order of the first. */
  readonly claims: readonly {
    readonly id: string;
    readonly statement: string;
    /** The two came to the same verdict. */
    readonly same: boolean;
    readonly results: readonly (ComparedClaim | null)[];
  }[];
}

/** Compares two reports: the parameters that differ, and what became of every claim. */
export function compareReports(first: Report, second: Report): ReportComparison {
  const both = [first, second];
  const settings = both.map(({ preset, parameters }) => new Map(Object.entries({ preset, ...parameters })));
  const names = [...new Set(settings.flatMap((each) => [...each.keys()]))];
  const ids = [...new Set(both.flatMap(({ claims }) => claims.map(({ id }) => id)))];
  return {
    parameters: names
      .map((name) => ({
        name,
        values: settings.map((each) => (each.has(name) ? parameterText(each.get(name)) : null)),
      }))
      .filter(({ values: [a, b] }) => a !== b),
    claims: ids.map((id) => {
      const found = both.map(({ claims }) => claims.find((claim) => claim.id === id));
      const results = found.map((claim): ComparedClaim | null => {
        if (claim === undefined) return null;
        const { verdict, why, measured } = claim;
        return { verdict, why, measured };
      });
      const same = results[0]?.verdict === results[1]?.verdict;
      return { id, statement: found.find((claim) => claim !== undefined)!.statement, same, results };
    }),
  };
}
