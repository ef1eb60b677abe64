/**
 * The part of the losses of a row BOS r r that belongs to the second copy and can be foretold: from its second token on.
 * @param length of r @returns [start, end) among the losses, which begin at the row's second token
 */
export function secondCopy(length: number): readonly [number, number] {
  return [length + 1, 2 * length];
}

/** Mean over rows of the losses in a range. @param nll [rows][positions - 1] */
export function meanWithin(nll: readonly (readonly number[])[], [start, end]: readonly [number, number]): number {
  const values = nll.flatMap((row) => row.slice(start, end));
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Mean over rows at each place. @param nll rows of one length */
export function meanByPosition(nll: readonly (readonly number[])[]): number[] {
  return (nll[0] ?? []).map((_, t) => nll.reduce((sum, row) => sum + row[t]!, 0) / nll.length);
}
