import { fileParameter } from "../../../common/definitions/parameters.ts";
import { HeadscopeError } from "../../../common/errors.ts";
import type { HeadScores } from "../../../common/heads/scores.ts";
import { readScores } from "../../../heads/files.ts";

/** The parameter that names the scores of heads. */
export const scoresParameter = fileParameter(
  "scores",
  "score file of heads, such as of probe retrieval; a KV head has the highest score of its query heads",
).optional();

/** The command that makes a score file. @param probe its name, and options behind it */
export function probeCommand(probe: string): string {
  return `headscope probe ${probe} --model MODEL --json > ${probe.split(" ")[0]}.json`;
}

/**
 * Reads the scores that a policy needs, before a model is loaded.
 * @param probe that makes them, and options behind its name
 * @throws HeadscopeError (usage) where none are given, (missing, input) for a file that is none, each with the command that makes it
 */
export async function neededScores(
  path: string | undefined,
  policy: string,
  { field = "scores", probe = "retrieval" }: { field?: string; probe?: string } = {},
): Promise<HeadScores> {
  const made = probeCommand(probe);
  if (path === undefined)
    throw new HeadscopeError("usage", `${policy} needs scores of heads`, {
      remedy: `make them with ${made}, or headscope import, and give ${field}=FILE`,
      field,
    });
  return readScores(path).catch((error: unknown) => {
    if (!(error instanceof HeadscopeError)) throw error;
    throw new HeadscopeError(error.kind, `${policy} needs scores of heads: ${error.message}`, {
      remedy: `make them with ${made}; files of other projects, such as Retrieval_Head's, come in by headscope import`,
      field,
      cause: error,
    });
  });
}
