import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError, nearest, unknownName } from "../errors.ts";
import { encodeSafetensors, readSafetensors, type SafeTensor } from "../models/formats/safetensors.ts";
import { blockHook, isPattern } from "../models/hook-points.ts";
import { writeFileAtomic } from "../paths.ts";
import { tf } from "../runtime/tf.ts";

/** What to take of an activation; what is left out stays whole. A number drops its axis. */
export interface CacheSlice {
  /** Layer, for names given without `blocks.{l}.` in front. */
  layer?: number;
  /** Batch row. */
  row?: number;
  /** Head: of k and v a KV head. Only for activations that have heads. */
  head?: number;
  /** Position; of patterns and scores the query. Negative numbers count from the end. */
  position?: number;
}

/**
 * Activations of a run by hook name. It owns its tensors: `dispose` frees them.
 * Shapes: streams [rows, positions, d_model]; q, z [rows, positions, heads, d_head]; k, v with KV heads; patterns [rows, heads, query, key].
 */
export class ActivationCache {
  readonly #tensors: Map<string, Tensor>;

  /** @param tensors by hook name, owned by the cache from here on */
  constructor(tensors: ReadonlyMap<string, Tensor>) {
    this.#tensors = new Map(tensors);
  }

  /** The hook names that were kept, in the order of the computation. */
  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** Bytes of all activations. */
  get bytes(): number {
    return [...this.#tensors.values()].reduce((sum, t) => sum + t.size * 4, 0);
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /**
   * An activation; the cache keeps owning it.
   * @throws HeadscopeError (usage) for a name that was not kept, with the nearest that were
   */
  get(name: string): Tensor {
    const found = this.#tensors.get(name);
    if (found) return found;
    if (!/(^|\.)(hook_\w+)$/.test(name)) throw unknownName("hook name", name, this.names);
    throw new HeadscopeError("usage", `the cache does not hold "${name}"`, {
      remedy: `ask for it in \`names\` (the nearest it holds: ${nearest(name, this.names).join(", ") || "none"})`,
    });
  }

  /**
   * A part of an activation as a new tensor, which the caller disposes.
   * @param name full, or short with `layer`: `slice("attn.hook_z", { layer: 5, head: 1, position: -1 })` gives [rows, d_head]
   * @throws HeadscopeError (usage) for an unknown name or an index outside the activation
   */
  slice(name: string, at: CacheSlice): Tensor {
    const full = at.layer === undefined ? name : blockHook(at.layer, name);
    const whole = this.get(full);
    const pattern = isPattern(full);
    const headAxis = pattern ? 1 : 2;
    if (at.head !== undefined && !pattern && whole.rank !== 4) {
      throw new HeadscopeError("usage", `${full} has no heads`, { remedy: "leave `head` out" });
    }
    const picks: [number, number | undefined, string][] = [[0, at.row, "row"], [headAxis, at.head, "head"], [pattern ? 2 : 1, at.position, "position"]]; // biome-ignore format: a table
    const begin = whole.shape.map(() => 0);
    const size = [...whole.shape];
    const dropped = new Set<number>();
    for (const [axis, index, what] of picks) {
      if (index === undefined) continue;
      const length = whole.shape[axis]!;
      const from = index < 0 ? length + index : index;
      if (!Number.isInteger(from) || from < 0 || from >= length) {
        throw new HeadscopeError("usage", `${what} ${index} of ${full} does not exist`, {
          remedy: `choose from 0 to ${length - 1}`,
        });
      }
      begin[axis] = from;
      size[axis] = 1;
      dropped.add(axis);
    }
    const shape = size.filter((_, axis) => !dropped.has(axis));
    return tf.tidy(() => tf.reshape(tf.slice(whole, begin, size), shape));
  }

  /** Writes all activations to a safetensors file in float32, whole or not at all. @param metadata text by name */
  async toSafetensors(path: string, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
    const entries = [...this.#tensors].map(([name, t]): [string, SafeTensor] => [
      name,
      // Read out when it is written, so that no second copy of the whole cache is held.
      { dtype: "F32", shape: t.shape, get data() { return t.dataSync() as Float32Array; } },
    ]); // biome-ignore format: one object
    await writeFileAtomic(path, encodeSafetensors(Object.fromEntries(entries), metadata));
  }

  /**
   * Reads what `toSafetensors` wrote.
   * @throws HeadscopeError (missing, corrupt) naming the file
   */
  static async fromSafetensors(path: string): Promise<ActivationCache> {
    const { tensors } = await readSafetensors(path);
    const read = [...tensors].map(([name, { shape, data }]): [string, Tensor] => [
      name,
      tf.tensor(data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number>), [...shape]),
    ]);
    return new ActivationCache(new Map(read));
  }

  /** Frees all activations. */
  dispose(): void {
    tf.dispose([...this.#tensors.values()]);
    this.#tensors.clear();
  }
}
