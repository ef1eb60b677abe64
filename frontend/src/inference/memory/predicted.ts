import type { FootprintAnswer } from "../../../../backend/common/api/footprint.ts";
import type { GenerateResult } from "../../../../backend/common/api/generation.ts";
import { counted } from "../../../../backend/common/text.ts";
import type { MemoryCurves } from "./kv.ts";

/** New tokens that a continuation has chosen, with the one that ended it. */
export function newTokensOf({ ids, stopped }: Pick<GenerateResult, "ids" | "stopped">): number {
  return ids.length + (stopped.by === "token" ? 1 : 0);
}

/** Curves of what a server has predicted, with gaps where a length is refused. */
export function predictedCurves({ lengths }: FootprintAnswer): MemoryCurves {
  const megabytes = (bytes: number | undefined) => (bytes === undefined ? null : bytes / 1e6);
  return {
    tokens: lengths.map(({ tokens }) => tokens),
    full: lengths.map(({ bytesFull }) => bytesFull / 1e6),
    masked: lengths.map(({ bytes }) => megabytes(bytes)),
  };
}

/** Reservations about what was predicted, in sentences; "" for none. */
export function reservations({ lengths, undecided }: FootprintAnswer): string {
  const refused = lengths.findLast((length) => length.refused !== undefined);
  return [
    undecided.length > 0
      ? `How much ${undecided.join(" and ")} holds is known only when it has run: it counts as everything here, so that less is measured.`
      : "",
    refused ? `No prompt of ${counted(refused.tokens, "token")} or fewer is drawn: ${refused.refused}.` : "",
  ]
    .filter((sentence) => sentence !== "")
    .join(" ");
}
