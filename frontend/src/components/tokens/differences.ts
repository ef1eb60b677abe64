import { counted } from "../../../../backend/common/text.ts";

/** The difference of two continuations. */
export interface Difference {
  /** Position of the first new token that is not the same; undefined where both are. */
  readonly first: number | undefined;
  /** By position: whether the token has no counterpart in the other continuation, at the same place or shifted. */
  readonly left: readonly boolean[];
  readonly right: readonly boolean[];
}

/**
 * Compares two continuations token by token: a longest common subsequence is alike, all else differs, so that one token
 * more in the middle does not mark everything after it.
 */
export function compareTokens(left: readonly number[], right: readonly number[]): Difference {
  let same = 0;
  while (same < left.length && same < right.length && left[same] === right[same]) same++;
  const [leftRest, rightRest] = [left.slice(same), right.slice(same)];
  const marks = unmatched(leftRest, rightRest);
  const alike = new Array<boolean>(same).fill(false);
  return {
    first: leftRest.length + rightRest.length === 0 ? undefined : same,
    left: [...alike, ...marks.left],
    right: [...alike, ...marks.right],
  };
}

function unmatched(left: readonly number[], right: readonly number[]): { left: boolean[]; right: boolean[] } {
  // length[i][j]: longest common subsequence of what follows i and j.
  const length = Array.from({ length: left.length + 1 }, () => new Uint16Array(right.length + 1));
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      length[i]![j] =
        left[i] === right[j] ? length[i + 1]![j + 1]! + 1 : Math.max(length[i + 1]![j]!, length[i]![j + 1]!);
  const marks = { left: left.map(() => true), right: right.map(() => true) };
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    if (left[i] === right[j]) {
      marks.left[i++] = false;
      marks.right[j++] = false;
    } else if (length[i + 1]![j]! >= length[i]![j + 1]!) i++;
    else j++;
  }
  return marks;
}

/** The point at which two continuations part, in one line. @param tokens of the sides, as text */
export function differenceWords(
  { first, left, right }: Difference,
  tokens: { readonly left: readonly string[]; readonly right: readonly string[] },
): string {
  if (first === undefined)
    return left.length === 1 ? "The one new token is the same." : `All ${left.length} new tokens are the same.`;
  const name = (token: string | undefined) => (token === undefined ? "the end" : JSON.stringify(token));
  const count = right.filter(Boolean).length;
  const marked =
    count === 0
      ? ""
      : ` ${count} of ${counted(right.length, "masked token")} ${count === 1 ? "is" : "are"} not in the full continuation.`;
  return `First difference at new token ${first + 1}: ${name(tokens.left[first])} full, ${name(tokens.right[first])} masked.${marked}`;
}
