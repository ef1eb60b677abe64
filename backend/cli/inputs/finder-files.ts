import { parseScoredCircuit } from "../../circuits/edges/circuit-list.ts";
import { CIRCUIT_FORMAT } from "../../common/api/circuits.ts";
import { PATTERNS_FORMAT } from "../../common/api/documents.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { kvTable, mainMetric } from "../../common/heads/metric.ts";
import type { HeadModel } from "../../common/heads/model.ts";
import { parseScores } from "../../common/heads/scores.ts";
import { edgeSums, type Finder, patternReach } from "../../heads/agreement.ts";
import { parsePatterns } from "../../heads/patterns.ts";
import { readJson } from "../../json.ts";

/** Scores of KV heads from a file, and the model that they are of. */
export interface FinderFile {
  readonly finder: Finder;
  readonly model: HeadModel;
}

/**
 * Reads scores of KV heads: of a score file (`FILE#metric`, without which its main metric), of sparse patterns or of a circuit.
 * @throws HeadscopeError (missing, input) naming the file
 */
export async function readFinder(reference: string): Promise<FinderFile> {
  const [, path, metric] = /^(.+?)(?:#([^#]*))?$/s.exec(reference) as unknown as [string, string, string | undefined];
  const content = await readJson(path, "scores file");
  const { format } = (content ?? {}) as { format?: unknown };
  if (format === PATTERNS_FORMAT) {
    const patterns = parsePatterns(content, path);
    return { finder: { name: "sparse-patterns", values: patternReach(patterns) }, model: patterns.model };
  }
  if (format === CIRCUIT_FORMAT) {
    const { model, edges, method } = parseScoredCircuit(content, path);
    if (model === undefined)
      throw new HeadscopeError("input", `${path} does not say of which model its circuit is`, {
        remedy: "find it again with headscope circuit find",
      });
    return { finder: { name: `circuit ${method}`, values: edgeSums(model, edges) }, model };
  }
  const scores = parseScores(content, path);
  const main = mainMetric(scores, metric || undefined);
  const name = metric ? `${scores.probe} ${main.name}` : scores.probe;
  return { finder: { name, values: kvTable(scores, main), cost: scores.cost }, model: scores.model };
}
