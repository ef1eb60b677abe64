import { formatHead } from "../../common/heads/head.ts";
import { parseHeadMetric } from "../../common/heads/head-metric.ts";
import type { RunRecord, Store } from "../../store/store.ts";
import { bold, count, dim, number, right, table } from "./format.ts";

const HEADS_SHOWN = 4;

/** Document of `headscope train` about a run. */
export interface TrainDocument {
  readonly run: string;
  readonly status: string;
  readonly seed: number;
  readonly step: number;
  /** Last values. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Steps. */
  readonly checkpoints: readonly number[];
}

/** The document of one run, or `{group, runs}` of several that were trained together. */
export function trainDocument(
  store: Store,
  trained: readonly RunRecord[],
): TrainDocument | { group: string; runs: TrainDocument[] } {
  const documents = trained.map(({ id, status, seed, step }) => ({
    run: id,
    status,
    seed,
    step,
    metrics: Object.fromEntries([...store.lastMetrics(id)].map(([name, { value }]) => [name, value])),
    checkpoints: store.checkpoints(id).map((c) => c.step),
  }));
  return documents.length === 1 ? documents[0]! : { group: trained[0]!.group, runs: documents };
}

/** Values beside a progress bar: "loss 0.51  in-context accuracy 0.97". */
export function valuesText(values: Readonly<Record<string, number>> | undefined): string {
  return Object.entries(values ?? {})
    .map(([name, value]) => `${name} ${number(value, 2)}`)
    .join("  ");
}

/** Time that a training will take yet, "" before it can be told. */
export function leftText(milliseconds: number | undefined): string {
  if (milliseconds === undefined) return "";
  const minutes = Math.round(milliseconds / 60_000);
  return minutes < 2 ? `${Math.round(milliseconds / 1000)} s left` : `${minutes} min left`;
}

/** Shows of a training how far each run came, its last measurements, its strongest heads. */
export function trainText(store: Store, trained: readonly RunRecord[]): string {
  const all = trained.map((run) => ({ run, last: store.lastMetrics(run.id) }));
  const names = [
    ...new Set(all.flatMap(({ last }) => [...last.keys()].filter((name) => parseHeadMetric(name) === undefined))),
  ];
  const rows = all.map(({ run, last }) => [
    run.id,
    String(run.seed),
    count(run.step),
    ...names.map((name) => (last.has(name) ? number(last.get(name)!.value, 3) : "")),
  ]);
  const heads = all.flatMap(({ run, last }) =>
    headLines(last).map((line) => (all.length > 1 ? `  ${run.id}  ${line}` : `  ${line}`)),
  );
  const [first] = trained as [RunRecord];
  return [
    table(["run", ...["seed", "step", ...names].map(right)], rows),
    ...(heads.length > 0 ? ["", bold("Strongest heads"), ...heads] : []),
    "",
    dim(
      `curves: headscope runs show ${first.id}${heads.length > 0 ? `    heads: headscope probe induction --model run:${first.id} --all-steps` : ""}`,
    ),
  ].join("\n");
}

/** For every probe its best heads: "induction  1.3 0.93  1.0 0.41". */
function headLines(last: ReadonlyMap<string, { readonly value: number }>): string[] {
  const byLabel = new Map<string, { head: string; value: number }[]>();
  for (const [name, { value }] of last) {
    const measured = parseHeadMetric(name);
    if (!measured) continue;
    const label = measured.probe === measured.metric ? measured.probe : measured.measure;
    byLabel.set(label, [...(byLabel.get(label) ?? []), { head: formatHead(measured), value }]);
  }
  return [...byLabel].map(([label, heads]) => {
    const best = heads.sort((a, b) => b.value - a.value).slice(0, HEADS_SHOWN);
    return `${label.padEnd(16)}${best.map(({ head, value }) => `${head} ${number(value, 2)}`).join("  ")}`;
  });
}
