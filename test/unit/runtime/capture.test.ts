import type { Scalar, Tensor } from "@tensorflow/tfjs";
import { beforeAll, describe, expect, it } from "vitest";
import { KvCache } from "../../../backend/models/cache/kv-cache.ts";
import { forward } from "../../../backend/models/forward/forward.ts";
import { type BackendChoice, initBackend } from "../../../backend/runtime/backend.ts";
import { capture, FunctionTable, functions } from "../../../backend/runtime/capture.ts";
import { embedRows, type Handle, native } from "../../../backend/runtime/ops.ts";
import { tf } from "../../../backend/runtime/tf.ts";
import { refused } from "../../helpers/errors.ts";
import { randomModel, randomTokens, smallConfig } from "../../helpers/models.ts";

const backend: BackendChoice = await initBackend();

const affine = (x: Handle, w: Handle): Tensor[] => [tf.tanh(tf.matMul(x as never, w as never)), tf.sum(x as Tensor)];

describe.skipIf(!backend.functions)("a captured function", () => {
  let x: Tensor;
  let w: Tensor;
  beforeAll(() => {
    x = tf.tensor2d([
      [0.1, -0.2],
      [0.3, 0.7],
      [1.5, -1],
    ]);
    w = tf.tensor2d([
      [0.5, -1, 2],
      [0.25, 0.75, -0.5],
    ]);
  });

  it.each([false, true])("equals the eager one in its values (xla: %s)", (xla) => {
    const f = capture(affine, [x, w], { name: "affine", xla });
    const made = f.run([x, w]);
    const eager = affine(x, w);
    made.forEach((t, i) => {
      expect([...t.dataSync()]).toEqual([...eager[i]!.dataSync()].map((v) => expect.closeTo(v, 6)));
    });
    f.dispose();
  });

  it.each([false, true])("equals the eager one in its gradients (xla: %s)", (xla) => {
    const loss = (w: Tensor, x: Tensor): Tensor => tf.mean(tf.square(tf.softmax(tf.matMul(x as never, w as never))));
    const step = (x: Handle, w: Handle): Tensor[] => {
      const { value, grads } = tf.valueAndGrads((w: Tensor) => loss(w, x as Tensor) as never)([w as Tensor]);
      return [value, grads[0]!];
    };
    const f = capture(step, [x, w], { name: "step", xla });
    const made = f.run([x, w]);
    const eager = tf.tidy(() => step(x, w));
    // Against the closed form too: central differences.
    const base = [...w.dataSync()];
    const at = (i: number, h: number): number =>
      tf.tidy(
        () =>
          loss(
            tf.tensor2d(
              base.map((v, j) => (i === j ? v + h : v)),
              [2, 3],
            ),
            x,
          ).dataSync()[0]!,
      );
    [...made[1]!.dataSync()].forEach((g, i) => {
      expect(g).toBeCloseTo(eager[1]!.dataSync()[i]!, 6);
      expect(g).toBeCloseTo((at(i, 0.01) - at(i, -0.01)) / 0.02, 3);
    });
    f.dispose();
  });

  it("takes lengths that were unknown at capture", () => {
    const f = capture((a) => [tf.matMul(a as never, w as never)], [x], {
      name: "open",
      shapes: [[-1, 2]],
      constants: [w],
    });
    expect(f.run([tf.ones([7, 2])])[0]!.shape).toEqual([7, 3]);
    f.dispose();
  });

  it.each([
    ["tf.randomNormal", () => tf.randomNormal([3, 2]), "randomNormal"],
    ["tf.randomUniform", () => tf.randomUniform([3, 2]), "randomUniform"],
    ["tf.dropout", () => tf.dropout(x, 0.5), "dropout"],
    ["tf.multinomial", () => tf.multinomial(tf.softmax(x) as never, 2), "multinomial"],
  ])("refuses random numbers: %s", (_, draw, name) => {
    expect(() => capture((a) => [tf.add(a as Tensor, tf.cast(draw(), "float32"))], [x], { name: "f" })).toThrow(
      refused("unsupported", { message: name }),
    );
  });

  it("refuses a read in the middle, naming the op whose value is read", () => {
    expect(() =>
      capture((a) => [tf.add(a as Tensor, tf.square(a as Tensor).dataSync()[0]!)], [x], { name: "f" }),
    ).toThrow(refused("unsupported", { message: "Square" }));
  });

  it("refuses a tensor from outside, uploaded or not, unless it is declared", () => {
    const fresh = tf.tensor2d([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const computed = tf.add(fresh, 1);
    for (const outside of [
      fresh,
      computed,
      tf.tensor2d([
        [9, 9],
        [9, 9],
        [9, 9],
      ]),
    ]) {
      expect(() => capture((a) => [tf.add(a as Tensor, outside)], [x], { name: "f" })).toThrow(
        refused("unsupported", { message: "Add" }),
      );
    }
    const f = capture((a) => [tf.add(a as Tensor, computed)], [x], { name: "f", constants: [computed] });
    expect(f.run([x])[0]!.dataSync()[0]).toBeCloseTo(2.1);
  });

  it("refuses a shape that depends on data", () => {
    expect(() => capture((a) => [tf.unique(a as Tensor).values], [x], { name: "f" })).toThrow(
      refused("unsupported", { message: "Unique" }),
    );
  });

  it("leaves eager work as it was after a refusal", () => {
    const before = tf.memory().numTensors;
    expect(() => capture((a) => [tf.add(a as Tensor, tf.randomNormal([3, 2]))], [x], { name: "f" })).toThrow();
    expect(tf.memory().numTensors).toBe(before);
    expect(tf.tidy(() => tf.randomNormal([2]).dataSync()).length).toBe(2);
  });

  it("leaks no tensor over 1,000 calls", () => {
    const f = capture(affine, [x, w], { name: "affine" });
    const before = tf.memory().numTensors;
    for (let i = 0; i < 1000; i++) tf.dispose(f.run([x, w]));
    expect(tf.memory().numTensors).toBe(before);
    f.dispose();
  });

  it("is gone from the runtime once removed", () => {
    const f = capture(affine, [x, w], { name: "affine" });
    tf.dispose(f.run([x, w]));
    f.dispose();
    expect(() => f.run([x, w])).toThrow(/removed/);
    expect(() => native().binding.executeOp(f.name, [], [], 2)).toThrow(/nor a name of a function/);
  });
});

describe.skipIf(!backend.functions)("a captured function that calls another", () => {
  it.each([false, true])("holds a call, not the other's ops, and gives what both give (inner xla: %s)", (xla) => {
    const x = tf.tensor2d([
      [0.5, -1],
      [2, 0.25],
    ]);
    const inner = capture((a) => [tf.tanh(tf.matMul(a as never, a as never)), tf.sum(a as Tensor)], [x], {
      name: "inner",
      xla,
    });
    const body = (a: Handle): Tensor[] => {
      const [first, total] = inner.run([a]) as [Tensor, Tensor];
      return [tf.add(inner.run([first])[0]!, total)];
    };
    const outer = capture(body, [x], { name: "outer" });
    expect(outer.ops).toBe(3);
    const expected = tf.tidy(() => {
      const once = tf.tanh(tf.matMul(x, x));
      return tf.add(tf.tanh(tf.matMul(once as never, once as never)), tf.sum(x)).dataSync();
    });
    const before = tf.memory().numTensors;
    for (let i = 0; i < 20; i++) {
      const [made] = outer.run([x]);
      expect([...made!.dataSync()]).toEqual([...expected].map((v) => expect.closeTo(v, 5)));
      made!.dispose();
    }
    expect(tf.memory().numTensors).toBe(before);
    outer.dispose();
    inner.dispose();
  });
});

describe("rows of a table by number", () => {
  it("have the gradient of products with one-hot vectors", () => {
    const table = tf.tensor2d([
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ]);
    const index = tf.tensor1d([3, 0, 3, 1], "int32");
    const weights = tf.tensor2d([
      [1, -1],
      [2, 0.5],
      [0.25, 3],
      [-2, 1],
    ]);
    const of = (rows: (t: Tensor) => Tensor) =>
      tf.valueAndGrad((t: Tensor) => tf.sum(tf.mul(tf.square(rows(t)), weights)) as Scalar)(table);
    const mine = of((t) => embedRows(t, index));
    const theirs = of((t) => tf.matMul(tf.oneHot(index, 4).toFloat() as never, t as never));
    expect(mine.value.dataSync()[0]).toBeCloseTo(theirs.value.dataSync()[0]!, 5);
    expect([...mine.grad.dataSync()]).toEqual([...theirs.grad.dataSync()]);
  });
});

describe.skipIf(!backend.functions)("the table of functions", () => {
  it("captures a key once and holds its bytes below the limit, the least used leaving first", () => {
    const x = tf.ones([2, 2]);
    const one = new FunctionTable().get(
      "size",
      (a) => [tf.add(a as Tensor, 1)],
      () => [x],
      () => ({ name: "f" }),
    ).bytes;
    const table = new FunctionTable(3.5 * one);
    for (let i = 0; i < 1000; i++) {
      const key = `f${i % 2 === 0 ? 0 : i}`;
      tf.dispose(
        table
          .get(
            key,
            (a) => [tf.add(a as Tensor, i)],
            () => [x],
            () => ({ name: "f" }),
          )
          .run([x]),
      );
      expect(table.bytes).toBeLessThanOrEqual(table.limit);
    }
    expect(table.size).toBe(3);
    expect(table.has("f0")).toBe(true); // used in every second call
    expect(table.captures).toBe(501);
    table.clear();
    expect(table.bytes).toBe(0);
  });

  it("leaks no tensor and no function over 1,000 decode steps of prefill and decode over one cache", () => {
    const before = tf.memory().numTensors;
    const model = randomModel(smallConfig({ n_layers: 1 }));
    const cache = new KvCache(model.config, { capacity: 1100 });
    forward(model, { tokens: randomTokens(1, 20, 96), cache }).dispose();
    const step = (): void => forward(model, { tokens: [[3]], cache, logitsAt: "last" }).dispose();
    step();
    const { captures } = functions;
    for (let i = 0; i < 1000; i++) step();
    expect(functions.captures).toBe(captures);
    expect(cache.lengths).toEqual([1021]);
    cache.dispose();
    model.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
