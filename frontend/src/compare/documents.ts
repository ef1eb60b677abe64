import { parameterText } from "../../../backend/common/command-line.ts";
import type { Flag } from "../../../backend/common/definitions/definition.ts";
import type { ScoreDocument } from "../state/workspace.svelte.ts";

/** Origin of scores. */
type Made = Pick<ScoreDocument, "params" | "seed">;

/**
 * The document that was made most like another: with the fewest parameters that differ, of two as like the newer one.
 * @param like undefined where there is nothing to be like: then the newest
 */
export function closest(documents: readonly ScoreDocument[], like: Made | undefined): ScoreDocument | undefined {
  const differences = (document: ScoreDocument): number => (like === undefined ? 0 : countDifferences(document, like));
  return documents.toSorted(
    (a, b) => differences(a) - differences(b) || (b.created ?? "").localeCompare(a.created ?? ""),
  )[0];
}

function countDifferences(a: Made, b: Made): number {
  const [own, other]: Record<string, unknown>[] = [a, b].map(({ params, seed }) => ({ ...params, seed: seed ?? 0 }));
  const names = new Set([...Object.keys(own!), ...Object.keys(other!)]);
  return [...names].filter((name) => JSON.stringify(own![name]) !== JSON.stringify(other![name])).length;
}

/** Of a document's parameters those that a probe takes: what another project wrote, or a list of cases left behind, it does not. */
export function probeParams(document: Made | undefined, flags: readonly Flag[]): Record<string, unknown> {
  const names = new Set(flags.map(({ name }) => name));
  return Object.fromEntries(Object.entries(document?.params ?? {}).filter(([name]) => names.has(name)));
}

/** Label that tells documents of one model and probe apart: parameters, and when it was made. */
export function documentLabel({ params, created, id }: ScoreDocument): string {
  const words = Object.entries(params).map(([name, value]) => `${name} ${parameterText(value)}`);
  const made = created === undefined ? [] : [created.slice(0, 16).replace("T", " ")];
  return [...words, ...made].join(", ") || id;
}
