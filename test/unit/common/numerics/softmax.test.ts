import { expect, it } from "vitest";
import { logSoftmax, logSumExp, softmax } from "../../../../backend/common/numerics/softmax.ts";

const close = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 12) as number);

it("logarithms of whole numbers have the shares of these", () => {
  const logs = [1, 2, 5].map(Math.log);
  expect(logSumExp(logs)).toBeCloseTo(Math.log(8), 12);
  expect([...softmax(logs)]).toEqual(close([1 / 8, 2 / 8, 5 / 8]));
  expect([...logSoftmax(logs)]).toEqual(close([1 / 8, 2 / 8, 5 / 8].map(Math.log)));
});

it("numbers beyond the range of exp are no matter, and those far below the largest have nothing", () => {
  expect(logSumExp([1000, 1000])).toBeCloseTo(1000 + Math.log(2), 10);
  expect([...softmax([1000, -1000, 1000, Number.NEGATIVE_INFINITY])]).toEqual([0.5, 0, 0.5, 0]);
  expect([...logSoftmax([-1000, -1000])]).toEqual(close([-Math.log(2), -Math.log(2)]));
});
