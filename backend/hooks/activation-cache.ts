import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError, nearestNames, unknownName } from "../common/errors.ts";
import { checkOptions, type Rules, whole } from "../common/options.ts";
import { encodeSafetensors, readSafetensors, type SafeTensor } from "../models/formats/safetensors/safetensors.ts";
import { blockHook, isPattern } from "../models/transformer/hook-points.ts";
import { writeFileAtomic } from "../paths.ts";
import { tf } from "../runtime/tf.ts";

/** The part to take of an activation; what is left out stays whole. A number drops its axis. */
export interface CacheSlice {
  /** Layer, for names given without `blocks.{l}.` in front. */
  layer?: number;
  /** Batch row. */
  row?: number;
  /** Head: of k and v a KV head. Only for activations that have heads. */
  head?: number;
  /** Position; of patterns and scores the query. Negative numbers count from the end of each row. */
  position?: number;
}

const SLICE: Rules<CacheSlice> = {
  layer: whole(0),
  row: whole(Number.MIN_SAFE_INTEGER),
  head: whole(Number.MIN_SAFE_INTEGER),
  position: whole(Number.MIN_SAFE_INTEGER),
};

/** Facts of the run that a cache is of. */
export interface CacheRun {
  /** Tokens of each row, where they differ from the number of positions; what lies behind them is 0. */
  lengths?: readonly number[];
}

/** Metadata of a file that says how many tokens each row has, such as "7,4,5". */
export const LENGTHS = "headscope.lengths";

/**
 * Activations of a run by hook name. It owns its tensors: `dispose` frees them.
 * Shapes: streams [rows, positions, d_model]; q, z [rows, positions, heads, d_head]; k, v with KV heads; patterns [rows, heads, query, key].
 * Rows of different lengths are filled up with zeros; `lengths` says where each ends, and `slice` never reaches beyond it.
 */
export class ActivationCache {
  readonly #tensors: Map<string, Tensor>;
  /** Tokens of each row; undefined where nobody said, and all rows are taken to be whole. */
  readonly lengths: readonly number[] | undefined;

  /** @param tensors by hook name, owned by the cache from here on */
  constructor(tensors: ReadonlyMap<string, Tensor>, { lengths }: CacheRun = {}) {
    this.#tensors = new Map(tensors);
    this.lengths = lengths && [...lengths];
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
    const tensor = this.#tensors.get(name);
    if (tensor) return tensor;
    if (!/(^|\.)(hook_\w+)$/.test(name)) throw unknownName("hook name", name, this.names);
    throw new HeadscopeError("usage", `the cache does not hold "${name}"`, {
      remedy: `ask for it in \`names\` (the nearest it holds: ${nearestNames(name, this.names).join(", ") || "none"})`,
    });
  }

  /**
   * A part of an activation as a new tensor, which the caller disposes. A row comes in its own length; a position of all rows is
   * one that every row has, or counted from each row's own end.
   * @param name full, or short with `layer`: `slice("attn.hook_z", { layer: 5, head: 1, position: -1 })` gives [rows, d_head]
   * @throws HeadscopeError (usage) for an unknown name or an index outside the activation
   */
  slice(name: string, part: CacheSlice): Tensor {
    checkOptions("a slice of a cache", part, SLICE);
    const full = part.layer === undefined ? name : blockHook(part.layer, name);
    const whole = this.get(full);
    const pattern = isPattern(full);
    if (part.head !== undefined && !pattern && whole.rank !== 4) {
      throw new HeadscopeError("usage", `${full} has no heads`, { remedy: "leave `head` out" });
    }
    const heads = pattern ? 1 : 2;
    const row = part.row === undefined ? undefined : placeOf(part.row, whole.shape[0]!, `row ${part.row} of ${full}`);
    const head =
      part.head === undefined ? undefined : placeOf(part.head, whole.shape[heads]!, `head ${part.head} of ${full}`);
    const rows = row === undefined ? Array.from({ length: whole.shape[0]! }, (_, r) => r) : [row];
    return tf.tidy(() => {
      const parts = rows.map((r) => this.#rowOf(full, r, { head, position: part.position, cut: row !== undefined }));
      return row === undefined ? tf.stack(parts) : parts[0]!;
    });
  }

  /** One row, with a head and a position picked; `cut` to its own length where it stands alone. */
  #rowOf(
    name: string,
    r: number,
    { head, position, cut }: { head: number | undefined; position: number | undefined; cut: boolean },
  ): Tensor {
    const row = tf.squeeze(tf.slice(this.get(name), r, 1), [0]);
    const pattern = isPattern(name);
    const [headAxis, axis] = pattern ? [0, 1] : [1, 0];
    const positions = row.shape[axis]!;
    // The final norm sees only the positions whose logits were wanted.
    const length = name.startsWith("ln_final.") ? positions : Math.min(this.lengths?.[r] ?? positions, positions);
    const begin = row.shape.map(() => 0);
    const size = [...row.shape];
    if (cut || position !== undefined) size[axis] = length;
    if (cut && pattern) size[2] = row.shape[2]! - (positions - length);
    const dropped: number[] = [];
    const pick = (where: number, place: number): void => {
      [begin[where], size[where]] = [place, 1];
      dropped.push(where);
    };
    if (position !== undefined) pick(axis, placeOf(position, length, `position ${position} of ${name} in row ${r}`));
    if (head !== undefined) pick(headAxis, head);
    return tf.reshape(
      tf.slice(row, begin, size),
      size.filter((_, where) => !dropped.includes(where)),
    );
  }

  /** Writes all activations to a safetensors file in float32, whole or not at all. @param metadata text by name */
  async toSafetensors(path: string, metadata: Readonly<Record<string, string>> = {}): Promise<void> {
    const entries = [...this.#tensors].map(([name, t]): [string, SafeTensor] => [
      name,
      // Read out when it is written, so that no second copy of the whole cache is held.
      { dtype: "F32", shape: t.shape, get data() { return t.dataSync() as Float32Array; } },
    ]); // biome-ignore format: one object
    const run = this.lengths ? { [LENGTHS]: this.lengths.join(",") } : {};
    await writeFileAtomic(path, encodeSafetensors(Object.fromEntries(entries), { ...run, ...metadata }));
  }

  /**
   * Reads what `toSafetensors` wrote.
   * @throws HeadscopeError (missing, corrupt) naming the file
   */
  static async fromSafetensors(path: string): Promise<ActivationCache> {
    const { tensors, metadata } = await readSafetensors(path);
    const read = [...tensors].map(([name, { shape, data }]): [string, Tensor] => [
      name,
      tf.tensor(data instanceof Float32Array ? data : Float32Array.from(data as ArrayLike<number>), [...shape]),
    ]);
    const lengths = metadata[LENGTHS]?.split(",").map(Number);
    return new ActivationCache(new Map(read), lengths?.every(Number.isSafeInteger) ? { lengths } : {});
  }

  /** Frees all activations. */
  dispose(): void {
    tf.dispose([...this.#tensors.values()]);
    this.#tensors.clear();
  }
}

/** An index counted from the end where it is negative. @throws HeadscopeError (usage) where there is no such one */
function placeOf(index: number, length: number, what: string): number {
  const place = index < 0 ? length + index : index;
  if (place >= 0 && place < length) return place;
  throw new HeadscopeError("usage", `${what} does not exist`, {
    remedy: `choose from 0 to ${length - 1}, or from the end with -1 to ${-length}`,
  });
}
