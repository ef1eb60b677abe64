import type { Tensor } from "@tensorflow/tfjs";
import { tf } from "./tf.ts";

/**
 * Gives sums and means gradients that spread by broadcasting. tfjs's own multiply with ones of the input's size, which are made in
 * JavaScript: a captured function would hold them all.
 */
export function registerGradients(): void {
  spreadBack("Sum", () => 1);
  spreadBack("Mean", (count) => count);
}

/** @param divisor of the gradient, by the numbers that go into one */
function spreadBack(kernelName: string, divisor: (count: number) => number): void {
  tf.registerGradient({
    kernelName,
    inputsToSave: ["x"],
    gradFunc: (dy, saved, attributes) => {
      const x = saved[0] as Tensor;
      const axes = tf.util.parseAxisParam(attributes["axis"] as number | number[], x.shape);
      const kept = x.shape.map((n, axis) => (axes.includes(axis) ? 1 : n));
      const by = divisor(axes.reduce((count, axis) => count * x.shape[axis]!, 1));
      const each = tf.reshape(by === 1 ? (dy as Tensor) : tf.div(dy as Tensor, by), kept);
      return { x: () => tf.broadcastTo(each, x.shape) };
    },
  });
}
