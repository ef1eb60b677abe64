import { HeadscopeError } from "../common/errors.ts";
import { formatHead, type Head, parseHead } from "../common/heads/head.ts";
import { queryMetric } from "../common/heads/metric.ts";
import { checkModel, type HeadModel } from "../common/heads/model.ts";
import type { HeadScores } from "../common/heads/scores.ts";
import { rankTable } from "../common/heads/table.ts";
import { readScores } from "./files.ts";

/** The model whose heads are named; with `kvHeads` and `ref`, score files of another model are refused. */
export type RefShape = Pick<HeadModel, "layers" | "heads"> & Partial<HeadModel>;

/**
 * Reads a choice of query heads: "18.6,17.3", or "top:8@scores.json#induction" for the best of a score file
 * ("bottom:8@…" for the lowest; without "#metric" the main metric).
 * @returns in the order written, or best (lowest) first; a head named twice counts once
 * @throws HeadscopeError `usage` for a head out of range or text that is neither form, `mismatch` for scores of another model
 */
export async function parseHeads(
  text: string,
  shape: RefShape,
  read: (path: string) => Promise<HeadScores> = readScores,
): Promise<Head[]> {
  const choice = /^(top|bottom):(.*)$/s.exec(text.trim());
  if (choice !== null) return fromScores(choice[1] as "top" | "bottom", choice[2]!, shape, read);
  const heads = new Map<string, Head>();
  for (const part of text.split(",")) {
    const ref = parseHead(part.trim(), shape);
    heads.set(formatHead(ref), ref);
  }
  return [...heads.values()];
}

async function fromScores(
  side: "top" | "bottom",
  rest: string,
  shape: RefShape,
  read: (path: string) => Promise<HeadScores>,
): Promise<Head[]> {
  const parts = /^([^@]*)@(.+?)(?:#([^#]*))?$/s.exec(rest);
  if (parts === null)
    throw new HeadscopeError("usage", `"${side}:${rest}" names no score file`, {
      remedy: `write ${side}:8@scores.json#metric`,
    });
  const [, countText, path, metricName] = parts as unknown as [string, string, string, string | undefined];
  const available = shape.layers * shape.heads;
  const count = Number(countText);
  if (!/^\d+$/.test(countText) || count < 1 || count > available)
    throw new HeadscopeError("usage", `"${side}:${countText}" is not a number of heads`, {
      remedy: `give a whole number from 1 to ${available}`,
    });
  const scores = await read(path);
  const { ref = "the model", kvHeads = scores.model.kvHeads, digest, layers, heads } = shape;
  checkModel(scores, { ref, kvHeads, digest, layers, heads }, `scores file ${path}`);
  const metric = queryMetric(scores, metricName || undefined, `${side}:${countText}`);
  // The lowest are ranked by the negated table, so that ties go to the earlier head on either side.
  const table = side === "top" ? metric.values : metric.values.map((row) => row.map((value) => -value));
  return rankTable(table)
    .slice(0, count)
    .map(({ layer, head }) => ({ layer, head }));
}
