import { type Coding, MINIFLOATS, type MinifloatName } from "../../../kernels/coding.ts";
import { MOST_WIDTH } from "../../../kernels/pages.ts";
import type { ModelConfig } from "../../config.ts";
import { type LayerLevels, learnLevels, outliersOf, type SampledPage } from "./kvquant.ts";
import { keyRotation } from "./rotation.ts";

/** Last tokens that stay as they come, at least: only whole pages before them are put into codes. */
interface Recent {
  readonly recent: number;
}

/** Whole numbers with a scale and a least one: of the keys for each channel of `group` tokens, of the values for each token's `group` channels. */
export interface KiviForm extends Recent {
  readonly kind: "kivi";
  readonly bits: 2 | 3 | 4 | 6 | 8;
  readonly group: number;
}

/** Small floats with a scale for each of the same groups. */
export interface MinifloatForm extends Recent {
  readonly kind: "minifloat";
  readonly format: MinifloatName;
  readonly group: number;
}

/**
 * Levels that are learned for each layer, of the keys before the rotation: for each channel of a page, of the values for each token.
 * The share `outliers` of each of these vectors, half at either end, and the first token stay as they are.
 */
export interface KvquantForm extends Recent {
  readonly kind: "kvquant";
  readonly bits: 2 | 3 | 4;
  readonly outliers: number;
  /** By layer, levels that were learned before [2^bits]; default those of the first pages. */
  readonly levels?: readonly { readonly keys: readonly number[]; readonly values: readonly number[] }[] | undefined;
}

/** A way to hold keys and values behind the recent tokens: pages of codes. Plain data. */
export type CacheForm = KiviForm | MinifloatForm | KvquantForm;

/** The floats' scales are large and small: half precision has no room for those of E5M2. */
const NO_HALVES = false;

/** The codings of one sequence's pages, by layer; what a form learns of the first pages holds for all later ones. */
export class FormCodings {
  readonly #config: ModelConfig;
  readonly #form: CacheForm;
  readonly #learned: (LayerLevels | undefined)[];

  constructor(config: ModelConfig, form: CacheForm, learned: readonly (LayerLevels | undefined)[] = []) {
    this.#config = config;
    this.#form = form;
    this.#learned = [...learned];
  }

  /** The same for a sequence that goes on from this one. */
  fork(): FormCodings {
    return new FormCodings(this.#config, this.#form, this.#learned);
  }

  /**
   * The coding of a page.
   * @param page its number in its KV head, and its rows
   * @param sample the layer's pages that are about to be coded, of all KV heads, for a form that learns
   */
  of(layer: number, page: { number: number; rows: number }, sample: () => readonly SampledPage[]): Coding {
    const form = this.#form;
    if (form.kind !== "kvquant") {
      const { group } = form;
      const floats = form.kind === "minifloat";
      const codes = floats
        ? ({ book: "floats", format: form.format } as const)
        : ({ book: "integers", bits: form.bits } as const);
      return { codes, keyGroup: group, valueGroup: Math.min(group, MOST_WIDTH), halfScales: floats ? NO_HALVES : true };
    }
    const rotation = keyRotation(this.#config, layer);
    const { bits, outliers, levels } = form;
    this.#learned[layer] ??= levels
      ? { keys: Float32Array.from(levels[layer]!.keys), values: Float32Array.from(levels[layer]!.values) }
      : learnLevels(sample(), { bits, outliers, turns: rotation?.turns });
    const firstRows = page.number === 0 ? 1 : 0;
    const width = this.#config.d_head;
    return {
      codes: { book: "levels", bits: form.bits, ...this.#learned[layer] },
      keyGroup: page.rows,
      valueGroup: width,
      outliers: { keys: outliersOf(form.outliers, page.rows - firstRows), values: outliersOf(form.outliers, width) },
      firstRows,
      halfScales: true,
      ...(rotation ? { rotation: rotation.kernels } : {}),
    };
  }
}

/** A form in a few words. */
export function describeForm(form: CacheForm): string {
  if (form.kind === "minifloat") return `${form.kind} ${form.format}`;
  return `${form.kind} of ${form.bits} bits`;
}

/** Names of the minifloats. */
export const MINIFLOAT_NAMES = Object.keys(MINIFLOATS) as [MinifloatName, ...MinifloatName[]];
