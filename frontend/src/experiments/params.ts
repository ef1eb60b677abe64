import { PRESETS } from "../../../backend/common/words.ts";
import { choice, json, text } from "../state/codecs.ts";
import { urlParam } from "../state/url.svelte.ts";

/** Name of the experiment that is looked at; "" for the gallery of all. */
export const chosenExperiment = urlParam("experiment", text());
/** Id of the report that is shown, or a preset for its newest; "" for the one made last. */
export const shownReport = urlParam("report", text());
/** Id of the report that is laid beside it; "" for none. */
export const comparedReport = urlParam("against", text());
/** Preset of the next run. */
export const runPreset = urlParam("preset", choice(PRESETS, "quick"));
export const runParams = urlParam("given", json<Readonly<Record<string, string>>>({}));
