import { expect, it } from "vitest";
import { pickRows, rowOf } from "../../../backend/training/task.ts";

it("rows of a batch are picked by their numbers, in their order, with all that the batch has", () => {
  const batch = {
    rows: 3,
    tokens: Int32Array.of(1, 2, 3, 4, 5, 6),
    values: Float32Array.of(0.25, 0.5, 0.75),
    weights: Float32Array.of(1, 0, 1),
    layout: Int32Array.of(7, 8, 9),
  };
  const picked = pickRows(batch, [2, 0, 2]);
  expect(picked).toEqual({
    rows: 3,
    tokens: Int32Array.of(5, 6, 1, 2, 5, 6),
    values: Float32Array.of(0.75, 0.25, 0.75),
    weights: Float32Array.of(1, 1, 1),
    layout: Int32Array.of(9, 7, 9),
  });
  expect(pickRows(batch, [1])).toEqual(rowOf(batch, 1));
});
