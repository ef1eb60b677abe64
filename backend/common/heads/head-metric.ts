/** A measurement of one head, as its name says it: `induction.induction[1.3]`. */
export interface HeadMeasurement {
  readonly probe: string;
  readonly metric: string;
  /** Of the probe and the metric, without the head: `induction.induction`. */
  readonly measure: string;
  readonly layer: number;
  readonly head: number;
}

/** The name of a probe's metric among a run's measurements, without the head: `PROBE.METRIC`. */
export function measureName(probe: string, metric: string): string {
  return `${probe}.${metric}`;
}

/** The name under which a run keeps a head's score: `PROBE.METRIC[LAYER.HEAD]`. */
export function headMetricName(probe: string, metric: string, layer: number, head: number): string {
  return `${measureName(probe, metric)}[${layer}.${head}]`;
}

/** Reads such a name; undefined for the name of any other measurement. */
export function parseHeadMetric(name: string): HeadMeasurement | undefined {
  const match = /^((.+?)\.(.+))\[(\d+)\.(\d+)\]$/.exec(name);
  if (!match) return undefined;
  const [, measure, probe, metric, layer, head] = match as unknown as [string, string, string, string, string, string];
  return { probe, metric, measure, layer: Number(layer), head: Number(head) };
}
