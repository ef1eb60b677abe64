import { readPairs } from "../../common/definitions/definition.ts";
import { HeadscopeError } from "../../common/errors.ts";
import { parseSweep, readSweep, type Sweep } from "../../jobs/sweeps/sweep-file.ts";
import { parseJson } from "../../json.ts";

/** Options of a sweep whose axes stand on the command line. */
export interface SweepOptions {
  /** NAME=VALUE,VALUE,... each. */
  over?: string[];
  param?: string[];
  seeds?: number[];
  /** Names with commas between them, or none. */
  probes?: string;
}

/**
 * The sweep that a command asks for: a file's, or a task over the axes of `--over`.
 * @param given the file or the task @returns with the name by which errors and results call it
 * @throws HeadscopeError `missing`, `input` for a file, `usage` for options
 */
export async function sweepOf(given: string, options: SweepOptions): Promise<{ sweep: Sweep; label: string }> {
  const { over, param, seeds, probes } = options;
  if (over === undefined) {
    const beside = Object.entries({ param, seeds, probes }).find(([, value]) => value !== undefined)?.[0];
    if (beside !== undefined)
      throw new HeadscopeError("usage", `--${beside} goes with --over, and a sweep file has its own`, {
        remedy: "name a task and give --over NAME=VALUE,VALUE, or put it into the file",
        field: beside,
      });
    return { sweep: await readSweep(given), label: given };
  }
  const label = "the sweep";
  const grid = Object.fromEntries(
    Object.entries(readPairs(over)).map(([name, text]) => [name, axisValues(name, text)]),
  );
  const measured = probes === undefined ? {} : { probes: probes === "none" ? [] : words(probes) };
  const sweep = parseSweep({ task: given, params: readPairs(param ?? []), grid, seeds, ...measured }, label);
  return { sweep, label };
}

/** The values of an axis: words with commas between them, or a JSON list, whose values may be lists. */
function axisValues(name: string, text: string): unknown[] {
  if (!text.startsWith("[")) return words(text);
  const values = parseJson(text, `--over ${name}`);
  if (Array.isArray(values)) return values;
  throw new HeadscopeError("usage", `--over ${name} is no list`, { remedy: "give values with commas between them" });
}

function words(text: string): string[] {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
}
