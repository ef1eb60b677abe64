import { KeyRotation } from "../../../kernels/coding.ts";
import { localWindow, type ModelConfig } from "../../config.ts";
import { rotaryTables } from "../../transformer/rope.ts";

/** The rotation of a layer's keys, for the kernels and for JavaScript. */
export interface LayerRotation {
  readonly kernels: KeyRotation;
  readonly turns: Turns;
}

/** Cosines, then sines, by position. */
export interface Turns {
  /** Numbers of a key that are turned, the first ones, halves paired. */
  readonly rotary: number;
  /** [positions, 2, rotary / 2] */
  readonly numbers: Float32Array;
}

/** Made once for a model: global layers' and local layers'. */
const rotations = new WeakMap<ModelConfig, Map<boolean, LayerRotation>>();
const freed = new FinalizationRegistry<KeyRotation>((rotation) => rotation.dispose());

/** The rotation that a layer gives its keys; undefined where the model does not rotate. */
export function keyRotation(config: ModelConfig, layer: number): LayerRotation | undefined {
  if (config.positional_embedding_type !== "rotary" || config.rotary_dim === 0) return undefined;
  const local = config.rotary_local !== undefined && localWindow(config, layer) !== undefined;
  const made = rotations.get(config) ?? new Map<boolean, LayerRotation>();
  rotations.set(config, made);
  const found = made.get(local);
  if (found) return found;
  const turns = turnsOf(config, local);
  const kernels = new KeyRotation(turns.rotary, turns.numbers);
  freed.register(config, kernels);
  const rotation = { kernels, turns };
  made.set(local, rotation);
  return rotation;
}

function turnsOf(config: ModelConfig, local: boolean): Turns {
  const { rotary_dim: rotary, n_ctx } = config;
  const half = rotary / 2;
  const { cos, sin } = rotaryTables(config, n_ctx, local);
  const [cosines, sines] = [cos, sin].map((table) => table.dataSync() as Float32Array) as [Float32Array, Float32Array];
  cos.dispose();
  sin.dispose();
  const numbers = new Float32Array(n_ctx * rotary);
  for (let p = 0; p < n_ctx; p++) {
    const row = p * rotary;
    numbers.set(cosines.subarray(row, row + half), row);
    numbers.set(sines.subarray(row, row + half), row + half);
  }
  return { rotary, numbers };
}

/** Gradients with respect to keys after the rotation, in place as those before it. @param gradients [rows, width] */
export function gradientsBefore(gradients: Float32Array, positions: ArrayLike<number>, turns: Turns): void {
  turnBack(gradients, positions, turns);
  const stretch = turns.numbers[0]! ** 2; // the cosine of no angle is what all are stretched by
  if (stretch === 1) return;
  const width = gradients.length / positions.length;
  for (let i = 0; i < gradients.length; i++) if (i % width < turns.rotary) gradients[i]! *= stretch;
}

/** Turns keys back to what they were before the rotation, in place. @param keys [rows, width] @param positions of the rows */
export function turnBack(keys: Float32Array, positions: ArrayLike<number>, { rotary, numbers }: Turns): void {
  const [half, width] = [rotary / 2, keys.length / positions.length];
  for (let t = 0; t < positions.length; t++)
    for (let i = 0; i < half; i++) {
      const [cos, sin] = [numbers[positions[t]! * rotary + i]!, numbers[positions[t]! * rotary + half + i]!];
      const by = 1 / (cos * cos + sin * sin); // angles may be stretched
      const [a, b] = [t * width + i, t * width + half + i];
      const [x, y] = [keys[a]!, keys[b]!];
      keys[a] = (x * cos + y * sin) * by;
      keys[b] = (y * cos - x * sin) * by;
    }
}
