/** log(sum(exp(x))), shifted by the largest. */
export function logSumExp(x: ArrayLike<number>): number {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < x.length; i++) most = Math.max(most, x[i]!);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += Math.exp(x[i]! - most);
  return most + Math.log(sum);
}

/** Logarithms of the softmax of numbers. */
export function logSoftmax(x: ArrayLike<number>): Float64Array {
  const whole = logSumExp(x);
  return Float64Array.from(x, (u) => u - whole);
}

/** Softmax of numbers: their exponentials, shifted by the largest, over the sum of these. */
export function softmax(x: ArrayLike<number>): Float64Array {
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < x.length; i++) most = Math.max(most, x[i]!);
  const powers = Float64Array.from(x, (u) => Math.exp(u - most));
  let sum = 0;
  for (const power of powers) sum += power;
  return powers.map((power) => power / sum);
}
