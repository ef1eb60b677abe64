import type { Tensor } from "@tensorflow/tfjs";
import { HeadscopeError } from "../common/errors.ts";
import { forward } from "../models/forward/forward.ts";
import type { Model } from "../models/model.ts";
import { tf } from "../runtime/tf.ts";
import type { ParsedIntervention } from "./intervention-schema.ts";
import type { ReferenceActivations } from "./reference.ts";

type Rows = readonly (readonly number[])[];

/** Clean activations that interventions refer to by tokens: one run for each set of rows, made when first needed. */
export class ReferenceRuns {
  readonly #model: Model;
  readonly #interventions: readonly ParsedIntervention[];
  readonly #own: Rows | undefined;
  /** Activations by hook name, by the rows as text. */
  readonly #runs = new Map<string, Map<string, Tensor>>();

  /** @param interventions with full hook names @param own rows of the run that is changed */
  constructor(model: Model, interventions: readonly ParsedIntervention[], own: Rows | undefined) {
    this.#model = model;
    this.#interventions = interventions;
    this.#own = own;
  }

  /** The activation that an intervention refers to. @throws HeadscopeError (usage) where there are no rows to draw from */
  of(intervention: ParsedIntervention): ReferenceActivations {
    const rows = rowsOf(intervention);
    const tokens = rows ?? this.#own;
    if (!tokens) {
      throw new HeadscopeError("usage", `"${intervention.do}" at ${intervention.at} has no rows to draw from`, {
        remedy: "give them as `with: {tokens: rows}`",
      });
    }
    const activation = this.#activations(tokens).get(intervention.at)!;
    return { activation, lengths: tokens.map((row) => row.length), own: rows === undefined };
  }

  #activations(tokens: Rows): Map<string, Tensor> {
    const key = JSON.stringify(tokens);
    const run = this.#runs.get(key);
    if (run) return run;
    const readers = this.#interventions.filter((other) => JSON.stringify(rowsOf(other) ?? this.#own) === key);
    const names = [...new Set(readers.map(({ at }) => at))];
    const { activations, resid } = forward(this.#model, { tokens, logitsAt: "none" }, { names });
    // Kept beyond the tidy in which an intervention is compiled.
    for (const tensor of activations.values()) tf.keep(tensor);
    resid.dispose();
    this.#runs.set(key, activations);
    return activations;
  }

  dispose(): void {
    for (const activations of this.#runs.values()) tf.dispose([...activations.values()]);
  }
}

/** The rows that an intervention names itself. */
function rowsOf({ with: source }: ParsedIntervention): Rows | undefined {
  return source !== undefined && typeof source === "object" && "tokens" in source
    ? (source as { tokens: Rows }).tokens
    : undefined;
}
