import type { TrainedModel } from "../../../backend/kernels/gradient.ts";

/** Sequences of one seed with their targets, as the kernel takes them. */
export interface LossCase {
  /** Ids, or vectors one after the other. */
  readonly read: ArrayLike<number>;
  readonly rows: number;
  /** Classes, or values one after the other. */
  readonly targets: ArrayLike<number>;
  readonly classes: boolean;
  readonly weights: ArrayLike<number>;
  /** Cosines and sines [positions, head]. */
  readonly tables?: readonly [ArrayLike<number>, ArrayLike<number>] | undefined;
}

type Vector = number[];

const ACTIVATIONS: Readonly<Record<TrainedModel["activation"], (x: number) => number>> = {
  relu: (x) => Math.max(0, x),
  gelu: (x) => (x / 2) * (1 + erf(x * Math.SQRT1_2)),
  gelu_new: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x) => x / (1 + Math.exp(-x)),
};

/** By its series, which is exact to float64 for the small numbers of a test. */
function erf(x: number): number {
  let [term, sum] = [x, x];
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** The sum of weight · loss of a model by its definition, in float64. @param parameters [parameters] */
export function lossInFloat64(model: TrainedModel, parameters: ArrayLike<number>, given: LossCase): number {
  const { layers, heads, width, head, mlp, positions: T, inputs, outputs, readout } = model;
  let next = 0;
  const vector = (size: number): Vector | undefined => {
    const from = model.places[next++]!;
    return from < 0 ? undefined : Array.from({ length: size }, (_, i) => parameters[from + i]!);
  };
  const matrix = (out: number, columns: number): Vector[] => {
    const flat = vector(out * columns) ?? [];
    return Array.from({ length: out }, (_, r) => flat.slice(r * columns, (r + 1) * columns));
  };
  const tokens = given.read instanceof Int32Array;
  const embed = tokens ? matrix(inputs, width) : matrix(width, inputs);
  const embedBias = vector(width);
  const learned = matrix(T, width);
  const blocks = Array.from({ length: layers }, () => ({
    ln1: [vector(width), vector(width)] as const,
    qkv: matrix(3 * heads * head, width),
    o: matrix(width, heads * head),
    ln2: [vector(width), vector(width)] as const,
    hidden: [matrix(mlp, width), vector(mlp)] as const,
    back: [matrix(width, mlp), vector(width)] as const,
  }));
  const last = [vector(width), vector(width)] as const;
  const widths = [width, ...readout];
  const layersOut = [...readout, outputs].map((out, i) => [matrix(out, widths[i]!), vector(out)] as const);

  const dot = (a: Vector, b: Vector): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const apply = ([w, b]: readonly [Vector[], Vector | undefined], x: Vector): Vector =>
    w.map((row, i) => dot(row, x) + (b?.[i] ?? 0));
  const add = (a: Vector, b: Vector): Vector => a.map((x, i) => x + b[i]!);
  const norm = ([w, b]: readonly [Vector | undefined, Vector | undefined], x: Vector): Vector => {
    if (!w) return x;
    const mean = model.norm === "LN" ? x.reduce((a, v) => a + v, 0) / x.length : 0;
    const deviation = Math.sqrt(x.reduce((a, v) => a + (v - mean) ** 2, 0) / x.length + model.epsilon);
    return x.map((v, i) => ((v - mean) / deviation) * w[i]! + (b?.[i] ?? 0));
  };
  const turn = (x: Vector, t: number): Vector => {
    if (!given.tables) return x;
    const [cos, sin] = given.tables;
    return x.map((v, i) => {
      const pair = i < head / 2 ? -x[i + head / 2]! : x[i - head / 2]!;
      return v * cos[t * head + i]! + pair * sin[t * head + i]!;
    });
  };
  const attention = (normed: Vector[], qkv: Vector[]): Vector[] => {
    const flat = normed.map((x) => apply([qkv, undefined], x));
    const part = (t: number, which: number, h: number): Vector =>
      flat[t]!.slice((which * heads + h) * head, (which * heads + h + 1) * head);
    return normed.map((_, t) =>
      Array.from({ length: heads }, (_, h) => {
        const q = turn(part(t, 0, h), t);
        const scores = Array.from({ length: t + 1 }, (_, s) => model.scale * dot(q, turn(part(s, 1, h), s)));
        const most = Math.max(...scores);
        const shares = scores.map((s) => Math.exp(s - most));
        const total = shares.reduce((a, b) => a + b, 0);
        return Array.from({ length: head }, (_, d) =>
          shares.reduce((sum, share, s) => sum + (share / total) * part(s, 2, h)[d]!, 0),
        );
      }).flat(),
    );
  };

  let loss = 0;
  for (let row = 0; row < given.rows; row++) {
    let x = Array.from({ length: T }, (_, t) => {
      const at = row * T + t;
      const read = tokens
        ? embed[given.read[at]!]!
        : apply(
            [embed, embedBias],
            Array.from({ length: inputs }, (_, i) => given.read[at * inputs + i]!),
          );
      return learned[t]!.length > 0 ? add(read, learned[t]!) : read;
    });
    for (const { ln1, qkv, o, ln2, hidden, back } of blocks) {
      const normed = x.map((v) => norm(ln1, v));
      const z = attention(normed, qkv);
      x = x.map((v, t) => add(v, apply([o, undefined], z[t]!)));
      if (mlp > 0)
        x = x.map((v) => add(v, apply(back, apply(hidden, norm(ln2, v)).map(ACTIVATIONS[model.activation]))));
    }
    for (const [i, v] of (model.last ? x.slice(-1) : x).entries()) {
      const at = row * (model.last ? 1 : T) + i;
      let h = norm(last, v);
      for (const [l, layer] of layersOut.entries()) {
        h = apply(layer, h);
        if (l < readout.length) h = h.map(ACTIVATIONS.relu);
      }
      const most = Math.max(...h);
      const own = given.classes
        ? Math.log(h.reduce((sum, y) => sum + Math.exp(y - most), 0)) + most - h[given.targets[at]!]!
        : h.reduce((sum, y, k) => sum + (y - given.targets[at * outputs + k]!) ** 2, 0) / outputs;
      loss += given.weights[at]! * own;
    }
  }
  return loss;
}
