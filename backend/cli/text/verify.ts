import type { Verification } from "../../inference/verify.ts";
import { count, right, table } from "./format.ts";

/** A verification for people. */
export function verificationText(
  verification: Verification & { readonly model: string; readonly against: string },
): string {
  const rows = verification.deviations.map(({ what, compared, error, at, largest }) => [
    what,
    count(compared),
    error.toExponential(1),
    `[${at.join(", ")}]`,
    largest.toPrecision(3),
  ]);
  const columns = ["what", right("numbers"), right("worst error"), "at", right("largest value")];
  const greedy = verification.greedy.map(({ cached, tokens, agree }) => {
    const how = `greedy continuation ${cached ? "with" : "without"} the cache`;
    return agree === tokens
      ? `The ${how} is the oracle's (${tokens} tokens).`
      : `The ${how} differs at token ${agree + 1} of ${tokens}.`;
  });
  const verdict = verification.passed
    ? `${verification.model} agrees with ${verification.against} within ${verification.tolerance}.`
    : `${verification.model} does not agree with ${verification.against} within ${verification.tolerance}.`;
  return [...(rows.length > 0 ? [table(columns, rows)] : []), ...greedy, verdict].join("\n");
}
