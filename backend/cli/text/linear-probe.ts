import type { LinearProbe } from "../../circuits/vectors/linear-probe.ts";
import { counted } from "../../common/text.ts";
import type { Model } from "../../models/model.ts";
import { bold, number, right, table } from "./format.ts";

/** Linear probes by layer for people. */
export function linearProbeText(
  { classes, train, test, chance, layers }: LinearProbe,
  { model, at, position, method }: { model: Model; at: string; position: number | "mean"; method: string },
): string {
  const where =
    position === "mean" ? "the mean over positions" : position === -1 ? "the last position" : `position ${position}`;
  const rows = layers.map(({ layer, accuracy, interval, control, selectivity }) => [
    String(layer),
    number(accuracy),
    interval.map((bound) => number(bound, 2)).join(" to "),
    control === undefined ? "-" : number(control),
    selectivity === undefined ? "-" : number(selectivity),
    "█".repeat(Math.round(20 * accuracy)),
  ]);
  const columns = [right("layer"), right("accuracy"), "95 %", right("shuffled"), right("selectivity"), ""];
  return [
    `${bold(`${method} probe`)} of ${at} in ${model.ref} at ${where}: ${counted(classes.length, "class", "classes")}, ${counted(train, "prompt")} fitted, ${test} held out; always the most frequent class: ${number(chance)}`,
    table(columns, rows, "  "),
  ].join("\n");
}
