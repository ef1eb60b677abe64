import type { ClaimResult } from "../base.ts";
import { differenceText, meanText } from "../intervals.ts";
import { vote } from "../verdicts.ts";

/** Most by which a loss may be above another to count as equal, of the distance from the best predictor to answering 0. */
export const AS_GOOD = 0.05;
/** Least rise of a loss that is one, alike. */
export const COSTS = 0.01;

/** Losses of a variant by seed: 0 is the best predictor, 1 answering 0. */
export interface ArmLosses {
  readonly losses: readonly number[];
}

/** Losses of all variants by seed; of fewer and narrower keys and values those of the largest factor. */
export interface VariantLosses {
  readonly whole: readonly number[];
  readonly powers: readonly (ArmLosses & { readonly name: string })[];
  readonly keyHeads: readonly number[];
  readonly valueHeads: readonly number[];
  readonly keyWidths: readonly number[];
  readonly valueWidths: readonly number[];
  readonly factor: number;
}

/** Decides the claims, seed by seed. */
export function judge(found: VariantLosses): ClaimResult[] {
  const { whole, powers, keyHeads, keyWidths, valueHeads, valueWidths, factor } = found;
  const rises = (losses: readonly number[]) => losses.map((loss, s) => loss - whole[s]!);
  const cheaper = (keys: readonly number[], values: readonly number[]) =>
    whole.map((_, s) => {
      const [key, value] = [rises(keys)[s]!, rises(values)[s]!];
      return Math.max(key, value) >= COSTS ? key < value : undefined;
    });
  const shrunk = (what: string, keys: readonly number[], values: readonly number[]) => ({
    measured: {
      [`rise with ${what} of keys divided by ${factor}`]: differenceText(rises(keys)),
      [`rise with ${what} of values divided by ${factor}`]: differenceText(rises(values)),
    },
    ...vote(cheaper(keys, values), "keys cost less", "neither costs anything"),
  });
  return [
    {
      id: "power",
      measured: {
        "loss of softmax": meanText(whole),
        ...Object.fromEntries(powers.map(({ name, losses }) => [`loss of ${name}`, meanText(losses)])),
      },
      ...vote(
        whole.map((_, s) => powers.every(({ losses }) => rises(losses)[s]! <= AS_GOOD)),
        `each power's loss is at most ${AS_GOOD} above that of softmax`,
        "",
      ),
    },
    { id: "fewer-keys", ...shrunk("heads", keyHeads, valueHeads) },
    { id: "narrower-keys", ...shrunk("width", keyWidths, valueWidths) },
    {
      id: "equal-loss",
      measured: {
        "loss of the whole model": meanText(whole),
        [`loss with heads of keys divided by ${factor}`]: meanText(keyHeads),
        [`loss with width of keys divided by ${factor}`]: meanText(keyWidths),
      },
      ...vote(
        rises(keyHeads).map((rise) => rise <= AS_GOOD),
        `the loss is at most ${AS_GOOD} above that of the whole model`,
        "",
      ),
    },
  ];
}
