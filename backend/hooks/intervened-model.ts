import { HeadscopeError } from "../common/errors.ts";
import type { Model } from "../models/model.ts";
import { type Intervention, parseInterventions } from "./intervention-schema.ts";
import { compileInterventions, disposeInterventions } from "./interventions.ts";

/** Reference rows of an intervention. */
interface TokenRows {
  readonly tokens: readonly (readonly number[])[];
}

/** A model under interventions. */
export interface IntervenedModel {
  /** Every run of it, whoever makes it, is under the interventions. It owns nothing: it is never disposed. */
  readonly model: Model;
  /** Frees the interventions, not the model that they are on. */
  dispose(): void;
}

/**
 * The model that computes what another does under interventions, to be studied in its place: probes, gradients, patching, circuits
 * and generation see it alone, clean and corrupt runs alike, and their own changes come behind.
 *
 * Positions are absolute, also over a cache; a prompt that is too short for one has nothing changed there. As the interventions
 * hold for runs of any tokens, none may depend on a run's own: mean, resample and freeze-pattern need `with`.
 * @throws HeadscopeError (usage) as `compileInterventions` does, and for what depends on a run's tokens or rows; (unsupported) for
 * changes of what other functions start their runs from: the stream before a layer, and the final norm's inside
 */
export function intervenedModel(base: Model, interventions: readonly Intervention[]): IntervenedModel {
  const list = parseInterventions([...interventions]);
  for (const each of list) {
    checkStandsAlone(each, "every run");
    if ((each.with as { cache?: string } | undefined)?.cache !== undefined)
      throw dependent(each, "every run", ["takes a kept activation", "give numbers, or {tokens: rows}"]);
  }
  // Two positions at the least: a table of one would hold everywhere.
  const positions = Math.max(2, ...list.flatMap(positionsOf));
  const compiled = compileInterventions(base, list, { rows: 1, positions });
  const start = [...compiled.keys()].find((hook) => hook.startsWith("ln_final.") || hook.endsWith(".hook_resid_pre"));
  if (start !== undefined) {
    disposeInterventions(compiled);
    throw new HeadscopeError("unsupported", `${start} can't be changed for every run of a model`, {
      remedy: "change hook_resid_post of the layer before instead, or hook_embed before layer 0",
      subject: start,
    });
  }
  return { model: base.under(compiled), dispose: () => disposeInterventions(compiled) };
}

/** Positions that an intervention names, as their number from 0 on, and those that its reference rows have. */
function positionsOf({ positions, keys, with: source }: Intervention): number[] {
  const named = [positions, keys].flatMap((places) => (Array.isArray(places) ? places : []));
  const rows = (source as Partial<TokenRows> | undefined)?.tokens ?? [];
  const shortest = rows.length > 0 ? [Math.min(...rows.map(({ length }) => length))] : [];
  return [...named.map((position) => position + 1), ...shortest];
}

/**
 * Insists that an intervention means the same for many runs.
 * @param runs those, such as "every run"
 * @throws HeadscopeError (usage) for one that depends on the tokens or the rows of a run
 */
export function checkStandsAlone(intervention: Intervention, runs: string): void {
  const { do: kind, with: source, rows = "all" } = intervention;
  if (rows !== "all") throw dependent(intervention, runs, ["names rows", "leave `rows` out"]);
  if (source === undefined && ["mean", "resample", "freeze-pattern"].includes(kind))
    throw dependent(intervention, runs, [
      "takes the run's own tokens for its reference",
      'give others, as {"with": {"tokens": rows}}',
    ]);
}

function dependent(
  { at, do: kind }: Intervention,
  runs: string,
  [what, remedy]: readonly [string, string],
): HeadscopeError {
  return new HeadscopeError("usage", `"${kind}" at ${at} ${what}, and it is to hold for ${runs}`, {
    remedy,
    subject: at,
  });
}
