/** A trained run, or a checkpoint of it. */
export interface RunPlace {
  readonly id: string;
  /** Of the checkpoint; absent for the last one. */
  readonly step?: number | undefined;
}

/** Reads run:ID or run:ID@STEP; undefined for other text. */
export function readRun(text: string): RunPlace | undefined {
  const groups = /^run:(?<id>[A-Za-z0-9][A-Za-z0-9-]*)(?:@(?<step>\d{1,15}))?$/.exec(text)?.groups;
  if (groups === undefined) return undefined;
  return { id: groups["id"]!, step: groups["step"] === undefined ? undefined : Number(groups["step"]) };
}
