import type { Tensor } from "@tensorflow/tfjs";
import type { Head } from "../../common/heads/head.ts";
import type { AblationMethod } from "../../common/words.ts";
import { replaceWhere } from "../../hooks/intervention-kinds.ts";
import { meanActivation, type ReferenceActivations, type RunShape, resampleOf } from "../../hooks/reference.ts";
import { forwardInTurns } from "../../models/forward/turns.ts";
import type { Affine } from "../../models/forward/types.ts";
import type { Model } from "../../models/model.ts";
import { blockHook } from "../../models/transformer/hook-points.ts";
import { gatherRows } from "../../runtime/ops.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn, type Turn } from "../../runtime/turn.ts";
import { evenBatches, type Interrupts } from "../batches.ts";
import { residLosses, residLossesInTurns } from "../loss.ts";

/** A clean run of the rows that is at hand, so that nothing of it is computed again. */
export interface CleanRun {
  /** Residual stream [rows, positions, d_model] before each layer and after the last; the giver frees them. */
  readonly streams: readonly Tensor[];
  /** Loss of the next tokens, by row. */
  readonly nll: readonly (readonly number[])[];
}

/** A token of a row, or the next one behind it, and another in its place. */
export interface TokenContrast {
  /** Of the token, from 1 on: it is foretold at the position before. The row's length with `answer`: it is foretold at the end. */
  readonly position: number;
  /** Id of the token. Default the one that stands there. */
  readonly answer?: number | undefined;
  /** Id of the other token. */
  readonly wrong: number;
}

/** Rows to run, and the stand-in for the output of heads that are taken out. */
export interface AblationInput {
  /** Rows of token ids [rows][positions], at least two tokens each. */
  tokens: readonly (readonly number[])[];
  /** zero: 0; mean: the head's mean z over the reference; resample: the z of another row of the reference. */
  method: AblationMethod;
  /** mean: one mean a position instead of one over all. Default false. */
  byPosition?: boolean | undefined;
  /** Rows that mean and resample draw from. Default: the other rows of `tokens`. */
  reference?: readonly (readonly number[])[] | undefined;
  /** A single row's token against a wrong one: `difference` of the result. */
  contrast?: TokenContrast | undefined;
  /** The clean run of the rows, where it is at hand. */
  clean?: CleanRun | undefined;
  /** Of the pairing of rows in resample and of the control's draws. Default 0. */
  seed?: number | undefined;
  /** Called as batches of variants are done. */
  progress?: (done: number, total: number, label: string) => void;
  signal?: AbortSignal | undefined;
  /** Lets others in between stretches of a long run. */
  turn?: Turn | undefined;
}

/** A row of the input with one set of heads taken out. */
interface Item {
  set: number;
  row: number;
}

/** Runs of the same rows with other heads taken out in each: variants share batches, and start where they first differ. */
export class AblationRuns {
  /** By set and row: loss of the next tokens. Filled by `all`. */
  readonly losses: number[][][];
  readonly #model: Model;
  readonly #input: AblationInput;
  readonly #sets: readonly (readonly Head[])[];
  readonly #keepStreams: boolean;
  readonly #positions: number;
  /** Residual stream before each layer at which some set starts [rows, positions, d_model]. */
  readonly #starts = new Map<number, Tensor>();
  /** The stand-in for z, by layer [rows or 1, positions or 1, heads, d_head]; undefined for zero. */
  readonly #standIns = new Map<number, Tensor | undefined>();
  /** Streams of the last positions by set and row [d_model], read out. */
  readonly #last = new Map<string, Float32Array>();
  /** Streams where the contrast's token is foretold, by set [d_model], read out. */
  readonly #contrast = new Map<number, Float32Array>();
  /** Tensors handed out, freed with the rest. */
  readonly #owned: Tensor[] = [];

  constructor(model: Model, input: AblationInput, sets: readonly (readonly Head[])[], { keepStreams = true } = {}) {
    this.#model = model;
    this.#input = input;
    this.#sets = sets;
    this.#keepStreams = keepStreams;
    this.#positions = Math.max(...input.tokens.map((row) => row.length));
    this.losses = sets.map(() => input.tokens.map(() => []));
  }

  /** Streams of the rows' last positions in one set's run [rows, d_model]; freed with the rest. */
  lastStreams(set: number): Tensor {
    const rows = this.#input.tokens.map((_, r) => this.#last.get(`${set} ${r}`)!);
    const flat = new Float32Array(rows.length * rows[0]!.length);
    rows.forEach((row, r) => {
      flat.set(row, r * row.length);
    });
    const ends = tf.tensor2d(flat, [rows.length, rows[0]!.length]);
    this.#owned.push(ends);
    return ends;
  }

  /** Streams where the contrast's token is foretold, of so many sets' runs [sets, d_model]; a new tensor. */
  contrastStreams(sets: number): Tensor {
    const rows = Array.from({ length: sets }, (_, s) => [...this.#contrast.get(s)!]);
    return tf.tensor2d(rows);
  }

  /** Runs every set on every row. */
  async all(progress: (done: number, total: number) => void, signal?: AbortSignal): Promise<void> {
    const { tokens, turn } = this.#input;
    const interrupts: Interrupts = { onLayer: () => signal?.throwIfAborted(), turn };
    const between = turn ?? loopTurn(signal);
    await this.#prepare(interrupts);
    const groups = new Map<number, Item[]>();
    for (const [s, set] of this.#sets.entries()) {
      if (set.length === 0 && this.#input.clean) {
        this.#takeClean(s, this.#input.clean);
        continue;
      }
      const first = this.#firstLayer(set);
      groups.set(first, [...(groups.get(first) ?? []), ...tokens.map((_, row) => ({ set: s, row }))]);
    }
    const total = [...groups.values()].flat().length;
    let done = 0;
    for (const [first, items] of groups) {
      for (const batch of evenBatches(items.length, this.#positions)) {
        const own = items.slice(batch.first, batch.first + batch.count);
        const fillers = new Array<Item>(batch.size - batch.count).fill(own[0]!);
        await this.#run(first, [...own, ...fillers], own.length, interrupts);
        done += own.length;
        progress(done, total);
        await between();
      }
    }
  }

  dispose(): void {
    const starts = this.#input.clean ? [] : this.#starts.values();
    tf.dispose([...starts, ...this.#standIns.values(), ...this.#owned].filter((t) => t !== undefined));
  }

  /** The layer at which a set's run departs from the clean one; the clean run goes with the earliest. */
  #firstLayer(set: readonly Head[]): number {
    const layers = (set.length > 0 ? set : this.#sets.flat()).map(({ layer }) => layer);
    return layers.length === 0 ? 0 : Math.min(...layers);
  }

  /** The run of an empty set, as it was given. */
  #takeClean(set: number, { nll, streams }: CleanRun): void {
    nll.forEach((losses, r) => {
      this.losses[set]![r] = [...losses];
    });
    if (!this.#keepStreams) return;
    const { tokens, contrast } = this.#input;
    const width = this.#model.config.d_model;
    if (contrast) this.#contrast.set(set, streamAt(streams.at(-1)!, 0, contrast.position - 1));
    tokens.forEach((row, r) => {
      const last = tf.slice(streams.at(-1)!, [r, row.length - 1, 0], [1, 1, width]);
      this.#last.set(`${set} ${r}`, last.dataSync() as Float32Array);
      last.dispose();
    });
  }

  /** The clean run: streams where sets start, and what stands in for the heads. */
  async #prepare(interrupts: Interrupts): Promise<void> {
    const { tokens, method, reference, byPosition = false, seed = 0 } = this.#input;
    const layers = [...new Set(this.#sets.flat().map(({ layer }) => layer))];
    const lengths = tokens.map((row) => row.length);
    const target: RunShape = { rows: tokens.length, positions: this.#positions, lengths };
    const own = reference === undefined;
    const outputs = method === "zero" ? [] : layers.map((layer) => blockHook(layer, "attn.hook_z"));
    const starts = [...new Set(this.#sets.map((set) => this.#firstLayer(set)))];
    const cleanRun = this.#input.clean;
    const streams = cleanRun ? [] : starts.map((layer) => blockHook(layer, "hook_resid_pre"));
    if (cleanRun) for (const layer of starts) this.#starts.set(layer, cleanRun.streams[layer]!);
    const names = [...streams, ...(own ? outputs : [])];
    const standIn = (activations: Map<string, Tensor>, rows: readonly (readonly number[])[]): void => {
      for (const layer of layers) {
        const activation = activations.get(blockHook(layer, "attn.hook_z"));
        if (!activation) continue;
        const source: ReferenceActivations = { activation, lengths: rows.map((row) => row.length), own };
        this.#standIns.set(
          layer,
          method === "mean" ? meanActivation(source, target, byPosition) : resampleOf(source, target, seed),
        );
      }
    };
    // In parts of bounded size; joined afterwards.
    const clean = names.length === 0 ? new Map() : await inParts(this.#model, tokens, names, interrupts);
    try {
      streams.forEach((name, i) => {
        this.#starts.set(starts[i]!, clean.get(name)!);
        clean.delete(name);
      });
      if (own) standIn(clean, tokens);
    } finally {
      tf.dispose([...clean.values()]);
    }
    if (own || outputs.length === 0) return;
    const others = await inParts(this.#model, reference, outputs, interrupts);
    try {
      standIn(others, reference);
    } finally {
      tf.dispose([...others.values()]);
    }
  }

  /** One batch of variants from layer `first` on; the last ones may be fillers. */
  async #run(first: number, items: readonly Item[], real: number, { onLayer, turn }: Interrupts): Promise<void> {
    const { tokens } = this.#input;
    let interventions = new Map<string, Affine>();
    const tensors = tf.tidy(() => {
      const rows = tf.tensor1d(
        items.map(({ row }) => row),
        "int32",
      );
      interventions = this.#changes(items, rows);
      const changes = [...interventions.values()].flatMap(({ gain, bias }) => [gain, bias]);
      return [gatherStack(this.#starts.get(first)!, rows), ...changes];
    });
    const lines = items.slice(0, real).map(({ row }) => tokens[row]!);
    let resid: Tensor | undefined;
    try {
      const input = { resid: tensors[0]!, startLayer: first, logitsAt: "none" } as const;
      ({ resid } = await forwardInTurns(this.#model, input, { interventions, onLayer }, turn));
      const losses = turn
        ? await residLossesInTurns(this.#model, resid, lines, { turn })
        : residLosses(this.#model, resid, lines, { onChunk: onLayer });
      losses.forEach((nll, i) => {
        this.losses[items[i]!.set]![items[i]!.row] = nll;
      });
      if (this.#keepStreams) this.#keepEnds(resid, items.slice(0, real), lines);
    } finally {
      tf.dispose([...tensors, ...(resid ? [resid] : [])]);
    }
  }

  /** Reads the streams of the lines' last positions. @param resid after the last layer [items or more, positions, d_model] */
  #keepEnds(resid: Tensor, items: readonly Item[], lines: readonly (readonly number[])[]): void {
    const { d_model } = this.#model.config;
    const lastStreams = tf.tidy(() => {
      const ends = tf.tensor1d(
        lines.map((line, i) => i * this.#positions + line.length - 1),
        "int32",
      );
      return gatherRows(tf.reshape(resid, [-1, d_model]), ends);
    });
    const values = lastStreams.dataSync() as Float32Array;
    const { contrast } = this.#input;
    items.forEach(({ set, row }, i) => {
      if (contrast) this.#contrast.set(set, streamAt(resid, i, contrast.position - 1));
      this.#last.set(`${set} ${row}`, values.slice(i * d_model, (i + 1) * d_model));
    });
    lastStreams.dispose();
  }

  /** Interventions of a batch: z of the chosen heads of each row is replaced. */
  #changes(items: readonly Item[], rows: Tensor): Map<string, Affine> {
    const { n_heads } = this.#model.config;
    const layers = [...new Set(items.flatMap(({ set }) => this.#sets[set]!.map(({ layer }) => layer)))];
    return new Map(
      layers.map((layer) => {
        const mask = new Float32Array(items.length * n_heads);
        items.forEach(({ set }, i) => {
          for (const place of this.#sets[set]!) if (place.layer === layer) mask[i * n_heads + place.head] = 1;
        });
        const standIn = this.#standIns.get(layer);
        const value = standIn && (standIn.shape[0] === 1 ? standIn : gatherStack(standIn, rows));
        return [blockHook(layer, "attn.hook_z"), replaceWhere(tf.tensor(mask, [items.length, 1, n_heads, 1]), value)];
      }),
    );
  }
}

/** One position of a stream [rows, positions, d_model], read out. */
function streamAt(stream: Tensor, row: number, position: number): Float32Array {
  const slice = tf.slice(stream, [row, position, 0], [1, 1, stream.shape[2]!]);
  const values = slice.dataSync() as Float32Array;
  slice.dispose();
  return values;
}

/** Rows of a tensor by number, whatever its rank. */
function gatherStack(t: Tensor, rows: Tensor): Tensor {
  const [count, ...rest] = t.shape;
  return tf.reshape(gatherRows(tf.reshape(t, [count!, -1]), rows), [rows.shape[0]!, ...rest]);
}

/** Activations of a clean run up to a layer, in batches of bounded size [rows, positions, ...]. */
async function inParts(
  model: Model,
  tokens: readonly (readonly number[])[],
  names: readonly string[],
  { onLayer, turn }: Interrupts,
): Promise<Map<string, Tensor>> {
  const positions = Math.max(...tokens.map((row) => row.length));
  // Nothing above the last layer that is asked for need run.
  const stopLayer = Math.max(0, ...names.map((name) => Number(/^blocks\.(\d+)\./.exec(name)![1]))) + 1;
  const parts: Map<string, Tensor>[] = [];
  try {
    for (const { first, count } of evenBatches(tokens.length, positions)) {
      const input = { tokens: tokens.slice(first, first + count), stopLayer, logitsAt: "none" } as const;
      const { resid, activations } = await forwardInTurns(model, input, { names, onLayer }, turn);
      resid.dispose();
      parts.push(activations);
    }
    return new Map(
      names.map((name) => [
        name,
        joinRows(
          parts.map((part) => part.get(name)!),
          positions,
        ),
      ]),
    );
  } finally {
    for (const part of parts) tf.dispose([...part.values()]);
  }
}

/** Parts of a batch below each other, padded to one number of positions; a new tensor. */
function joinRows(parts: Tensor[], positions: number): Tensor {
  return tf.tidy(() => {
    const even = parts.map((t) =>
      tf.pad(
        t,
        t.shape.map((n, axis) => [0, axis === 1 ? positions - n : 0] as [number, number]),
      ),
    );
    return even.length === 1 ? tf.clone(even[0]!) : tf.concat(even, 0);
  });
}
