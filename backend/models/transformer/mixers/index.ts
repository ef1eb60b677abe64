import { HeadscopeError } from "../../../common/errors.ts";
import type { MixerName } from "../../../common/words.ts";
import { type ModelConfig, mixerOf } from "../../config.ts";
import { linearRecurrence } from "./linear-recurrence.ts";
import type { RecurrentMixer } from "./mixer.ts";
import { selective } from "./selective.ts";

const RECURRENT: Readonly<Record<Exclude<MixerName, "attention">, RecurrentMixer>> = {
  "linear-recurrence": linearRecurrence,
  selective,
};

/** The recurrence of a name; undefined for attention. */
export function recurrenceNamed(name: MixerName): RecurrentMixer | undefined {
  return name === "attention" ? undefined : RECURRENT[name];
}

/** The recurrence of a layer; undefined where it has attention. */
export function recurrenceOf(config: Pick<ModelConfig, "mixer">, layer: number): RecurrentMixer | undefined {
  return recurrenceNamed(mixerOf(config, layer));
}

/**
 * Insists on attention in some layers, for whoever looks for it there.
 * @param who the subject of the error, such as "a cache of keys and values"
 * @param layers default all
 * @throws HeadscopeError (unsupported) naming the first layer that has a recurrence
 */
export function requireAttention(
  config: Pick<ModelConfig, "mixer">,
  who: string,
  layers: readonly number[] = [...(config.mixer ?? []).keys()],
): void {
  const layer = layers.find((each) => recurrenceOf(config, each) !== undefined);
  if (layer === undefined) return;
  throw new HeadscopeError(
    "unsupported",
    `${who} needs attention, and layer ${layer} has ${recurrenceOf(config, layer)!.title}`,
    { remedy: "take a model of attention layers", field: "mixer" },
  );
}
