/** Indices of the largest values, largest first; of equal ones the earlier first. */
export function topIndices(values: ArrayLike<number>, count: number): number[] {
  const top: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (top.length === count && !(value > values[top.at(-1)!]!)) continue;
    let at = top.length;
    while (at > 0 && value > values[top[at - 1]!]!) at--;
    top.splice(at, 0, i);
    if (top.length > count) top.pop();
  }
  return top;
}
