import { expect, it } from "vitest";
import { cholesky, solve } from "../../../../backend/common/numerics/cholesky.ts";
import { matrixOf, product, transposed } from "../../../../backend/common/numerics/matrix.ts";
import { Random } from "../../../../backend/common/random.ts";

it("a positive definite system is solved: A X = B again, and L Lᵀ is A", () => {
  const random = new Random(1);
  const rows = (count: number, columns: number) =>
    matrixOf(Array.from({ length: count }, () => Array.from({ length: columns }, () => random.normal())));
  const [x, right] = [rows(5, 5), rows(5, 3)];
  const a = product(x, transposed(x));
  const whole = { ...a, data: a.data.map((value, i) => value + (i % 6 === 0 ? 0.5 : 0)) };
  const lower = cholesky(a, 0.5);
  product(lower, transposed(lower)).data.forEach((value, i) => void expect(value).toBeCloseTo(whole.data[i]!, 12));
  product(whole, solve(lower, right)).data.forEach((value, i) => void expect(value).toBeCloseTo(right.data[i]!, 10));
});
