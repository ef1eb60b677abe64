import type { Definitions } from "../../../../backend/common/api/definitions.ts";
import type { HeadTable } from "../../../../backend/common/heads/table.ts";
import { figure } from "../../format.ts";
import { tableExtent } from "../head-grid/grid.ts";
import type { Metric } from "./metrics.ts";

/** The scale that colours a metric's values: the ends of the scale, and the value that a head has by accident. */
export interface MetricScale {
  readonly range: readonly [number, number];
  readonly chance?: number | undefined;
  /** True if it has a colour on each side of 0. */
  readonly diverging?: boolean;
}

/** A metric by the names that its probe's definition has for it. */
type Named = Pick<Metric, "probe" | "name">;

/** The meaning of a metric's values, by its probe's definition; undefined for metrics of others. */
export function metricMeaning({ probe, name }: Named, definitions: Definitions | undefined) {
  const meanings = definitions?.probes.find((each) => each.name === probe)?.meanings;
  return meanings !== undefined && Object.hasOwn(meanings, name) ? meanings[name] : undefined;
}

/** All values that a metric can have, from its document or its probe's definition; undefined where neither says. */
export function wholeRange(
  metric: Named & Pick<Metric, "range">,
  definitions: Definitions | undefined,
): readonly [number, number] | undefined {
  return metric.range ?? metricMeaning(metric, definitions)?.range;
}

/** Share of a range by which rounding, of a mean in single precision, may take a value out of it. */
const ROUNDING = 1e-5;

/**
 * The scale of a metric: all values that it can have, so that noise looks like nothing; its own from lowest to highest where that is
 * asked for, is not known, or leaves out a value.
 * @param values as they are shown
 */
export function metricScale(
  metric: Named & Pick<Metric, "range" | "chance" | "text">,
  values: HeadTable,
  { own, definitions }: { readonly own: boolean; readonly definitions: Definitions | undefined },
): MetricScale {
  if (metric.text?.diverging) return { range: tableExtent(values, true), diverging: true };
  const whole = wholeRange(metric, definitions);
  const covered = tableExtent(values);
  const slack = whole === undefined ? 0 : ROUNDING * (whole[1] - whole[0]);
  const fits = whole !== undefined && covered[0] >= whole[0] - slack && covered[1] <= whole[1] + slack;
  return { range: fits && !own ? whole : covered, chance: metric.chance };
}

/** Explains a value of the metric, and chance, to whoever sees it for the first time. "" where nothing is known. */
export function explain(
  metric: Named & Pick<Metric, "label" | "chance" | "text">,
  definitions: Definitions | undefined,
): string {
  const { meaning } = metric.text ?? metricMeaning(metric, definitions) ?? {};
  const chance =
    metric.chance === undefined
      ? ""
      : ` A head that attends evenly to all it sees has ${figure(metric.chance)}: chance.`;
  return meaning === undefined && chance === "" ? "" : `${metric.label}: ${meaning ?? ""}${chance}`;
}

/** Of some thousand heads with random weights the highest comes to three or four times chance. */
const FAR = 5;

/**
 * Says that no head of a table is far above chance; undefined where one is, or chance is not known or too high for any to be.
 * @param most that a head can have, default any number
 */
export function nothingFound(values: HeadTable, chance: number | undefined, most = Infinity): string | undefined {
  if (chance === undefined || chance <= 0 || FAR * chance >= most) return undefined;
  const finite = values.flat().filter(Number.isFinite);
  if (finite.length === 0) return undefined;
  const highest = finite.reduce((a, b) => Math.max(a, b));
  return highest < Math.min(FAR * chance, (chance + most) / 2)
    ? `Nothing above chance: the highest value, ${figure(highest)}, is within ${FAR} times of ${figure(chance)}, which a head that attends evenly has.`
    : undefined;
}
