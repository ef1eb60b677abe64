import type { ComparedClaim, ReportComparison } from "../backend/common/api/experiments.ts";
import { parameterText } from "../backend/common/command-line.ts";
import type { Report } from "../backend/common/figures/report.ts";

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
      const pair = both.map(({ claims }) => claims.find((claim) => claim.id === id));
      const results = pair.map((claim): ComparedClaim | null => {
        if (claim === undefined) return null;
        const { verdict, why, measured } = claim;
        return { verdict, why, measured };
      });
      const same = results[0]?.verdict === results[1]?.verdict;
      return { id, statement: pair.find((claim) => claim !== undefined)!.statement, same, results };
    }),
  };
}
