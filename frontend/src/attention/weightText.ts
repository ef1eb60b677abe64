/** A weight as it is written beside a token. Half precision has none between zero and 6e-8. */
export function weightText(weight: number): string {
  if (weight < 1e-7) return "<1e−7";
  if (weight < 0.001) return weight.toExponential(1).replace("e-", "e−");
  return weight < 1 ? weight.toFixed(3) : weight.toPrecision(3);
}
