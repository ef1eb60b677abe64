import { type Head, type HeadShape, kvHeadOf } from "../../../../backend/common/heads/head.ts";
import type { HeadMask } from "../../../../backend/common/heads/mask.ts";
import { counted } from "../../../../backend/common/text.ts";

/** The part that a mask leaves of a query head. */
export interface MaskEffect {
  readonly kind: "full" | "streaming" | "ablated";
  readonly words: string;
}

/** Reads off a mask what it leaves of a query head: nothing if it is ablated, else what its KV head keeps. */
export function maskEffect({ heads, kvHeads, sink, recent }: HeadMask, place: Head, shape: HeadShape): MaskEffect {
  if (heads?.[place.layer]?.[place.head] === "ablate") return { kind: "ablated", words: "ablated" };
  const kv = kvHeadOf(place, shape);
  if (kvHeads?.[kv.layer]?.[kv.head] === "streaming")
    return { kind: "streaming", words: `streams: keeps the first ${sink} and the latest ${counted(recent, "token")}` };
  return { kind: "full", words: "keeps everything" };
}
