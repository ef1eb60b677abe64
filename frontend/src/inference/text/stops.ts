import type { GenerateResult } from "../../../../backend/common/api/generation.ts";
import type { ModelInfo } from "../../../../backend/common/api/models.ts";
import type { Stop } from "../../../../backend/inference/stop-rule.ts";

/**
 * Reads what a person wrote: token ids and quoted texts with commas between, `"\n\n", 106`, or one text as it is.
 */
export function readStops(text: string): Stop[] {
  if (text.trim() === "") return [];
  try {
    const values = JSON.parse(`[${text}]`) as unknown[];
    const all = values.every((value) => (typeof value === "string" ? value !== "" : Number.isInteger(value)));
    if (all) return values as Stop[];
  } catch {
    // One text, which needs no quotes.
  }
  return [text];
}

/** A stop as `headscope generate --stop` takes it: a text that looks like an id or holds line ends is quoted. */
export function stopFlag(stop: Stop): string {
  if (typeof stop === "number") return String(stop);
  return /^\d+$|^".*"$|[\n\r\t\\]/s.test(stop) ? JSON.stringify(stop) : stop;
}

/** The model's own stops, for people. */
export function stopsText({ stops }: Pick<ModelInfo, "stops">): string {
  if (stops.length === 0) return "the model's files name nothing that ends it";
  const shown = ({ id, text }: (typeof stops)[number]): string => (id === undefined ? JSON.stringify(text) : text);
  return stops.map((stop) => `${shown(stop)} (${stop.sources.join(", ")})`).join(", ");
}

/** Why a continuation ended, for people. */
export function endOf({ stopped }: GenerateResult, info: Pick<ModelInfo, "stops"> | undefined): string {
  if (stopped.by === "limit") return "as many as were asked for";
  if (stopped.by === "text") return `ended by ${JSON.stringify(stopped.text)}`;
  const own = info?.stops.find(({ id }) => id === stopped.id);
  return `ended by ${own ? own.text : `token ${stopped.id}`}`;
}
