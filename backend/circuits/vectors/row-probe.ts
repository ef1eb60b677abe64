import type { LinearProbe } from "../../common/api/linear-probes.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { checkOptions, type Rules } from "../../common/options.ts";
import { allFinite, notFinite } from "../../hooks/finite.ts";
import { forward } from "../../models/forward/forward.ts";
import type { Model } from "../../models/model.ts";
import { tf } from "../../runtime/tf.ts";
import { loopTurn } from "../../runtime/turn.ts";
import { layersOf, PROBE_SETTINGS, type ProbeSettings, probeLayers } from "./linear-probe.ts";
import { type ProbeTargets, type Split, shuffled, splitRandom } from "./probe-layer.ts";

/** Rows of one length: token ids, or vectors for a model that reads them. */
export interface ProbedRows {
  readonly rows: number;
  readonly positions: number;
  /** [rows, positions] */
  readonly tokens?: Int32Array;
  /** [rows, positions, width] */
  readonly inputs?: Float32Array;
}

/** A question about what can be read from the activations of rows. */
export interface RowProbeOptions extends ProbeSettings {
  rows: ProbedRows;
  /** Position of each row that is read; "mean": the mean over all of a row. */
  places: readonly number[] | "mean";
  /** A target for each row. */
  targets: ProbeTargets;
}

const OPTIONS: Rules<RowProbeOptions> = {
  ...PROBE_SETTINGS,
  rows: { wants: "rows of tokens or vectors", fits: (value) => typeof value === "object" },
  places: { wants: 'a position for each row, or "mean"', fits: (value) => value === "mean" || Array.isArray(value) },
  targets: { wants: "classes or values of the rows", fits: (value) => typeof value === "object" },
};

/** Rows of a forward. */
const BATCH = 64;

/**
 * Linear probes by layer of rows with targets, of which some are held out, beside the same with shuffled targets.
 * @throws HeadscopeError for options that do not exist or do not fit, too few rows to fit and hold out, logistic probes of values,
 * and activations that are no numbers
 */
export async function rowProbe(model: Model, options: RowProbeOptions): Promise<LinearProbe> {
  checkOptions("rowProbe", options, OPTIONS, ["rows", "places", "targets"]);
  const { rows, places, targets, method = "ridge", test = 0.3, seed = 0 } = options;
  if (targets.kind === "values" && method === "logistic")
    throw new HeadscopeError("usage", "logistic probes tell classes apart, and the target has values", {
      remedy: "take ridge",
      field: "method",
    });
  const { layers, names } = layersOf(model, options);
  const split = splitOf(rows.rows, test, seed);
  const vectors = await rowActivations(model, names, { rows, places }, options);
  return probeLayers({ layers, vectors, targets, split }, options);
}

function splitOf(rows: number, share: number, seed: number): Split {
  if (rows < 4)
    throw new HeadscopeError("usage", `${rows} rows are too few to fit some and hold out others`, {
      remedy: "give at least 4",
      field: "rows",
    });
  const all = Array.from({ length: rows }, (_, row) => row);
  const order = shuffled(all, splitRandom(seed));
  const held = Math.min(rows - 2, Math.max(2, Math.round(share * rows)));
  return { train: order.slice(held), test: order.slice(0, held) };
}

/** The activations of rows at their places. @returns by hook name and row [d_model] */
async function rowActivations(
  model: Model,
  names: readonly string[],
  { rows, places }: Pick<RowProbeOptions, "rows" | "places">,
  { progress, signal, turn = loopTurn(signal) }: ProbeSettings,
): Promise<Float32Array[][]> {
  const vectors = names.map(() => [] as Float32Array[]);
  for (let first = 0; first < rows.rows; first += BATCH) {
    const count = Math.min(BATCH, rows.rows - first);
    const read = forwardInput(rows, first, count);
    const run = forward(model, { ...read, logitsAt: "none" }, { names, onLayer: () => signal?.throwIfAborted() });
    try {
      names.forEach((name, i) => {
        const stream = run.activations.get(name)!; // [count, positions, d_model]
        const picked = tf.tidy(() =>
          places === "mean"
            ? tf.mean(stream, 1)
            : tf.gatherND(
                stream,
                tf.tensor2d(places.slice(first, first + count).map((place, row) => [row, place]), [count, 2], "int32"),
              ),
        ); // biome-ignore format: a case a line
        const values = picked.dataSync() as Float32Array; // [count, d_model]
        picked.dispose();
        if (!allFinite(values)) throw notNumbers(model, read.tokens);
        const width = values.length / count;
        for (let row = 0; row < count; row++) vectors[i]!.push(values.slice(row * width, (row + 1) * width));
      });
    } finally {
      run.dispose();
      read.inputs?.dispose();
    }
    progress?.(Math.min(first + BATCH, rows.rows), rows.rows, "linear probes, rows");
    await turn();
  }
  return vectors;
}

function notNumbers(model: Model, tokens: readonly (readonly number[])[] | undefined): HeadscopeError {
  if (tokens !== undefined) return notFinite(model, "the activations", tokens);
  return new HeadscopeError("input", `the activations in ${model.ref} are no numbers`, {
    remedy: "put smaller numbers where the run is changed",
  });
}

function forwardInput({ rows, positions, tokens, inputs }: ProbedRows, first: number, count: number) {
  const part = <T extends Int32Array | Float32Array>(all: T): T => {
    const width = all.length / rows;
    return all.subarray(first * width, (first + count) * width) as T;
  };
  if (inputs !== undefined) {
    const own = part(inputs);
    return { inputs: tf.tensor3d(own, [count, positions, own.length / (count * positions)]) };
  }
  const ids = part(tokens!);
  return {
    tokens: Array.from({ length: count }, (_, row) => [...ids.subarray(row * positions, (row + 1) * positions)]),
  };
}
