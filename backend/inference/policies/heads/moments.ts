import { z } from "zod";
import { PREFILLS, type Prefill } from "../../../common/words.ts";
import type { HeadChoice } from "../kinds/heads.ts";
import { MOMENTS, type Moment } from "../kinds/parameters.ts";

/** Parameters that say from when on streaming heads have their windows. */
export const momentsOfHeads = {
  prefill: z
    .enum(PREFILLS)
    .default("masked")
    .describe("whether the windows hold during the prompt, or from its end on"),
  when: z
    .enum(MOMENTS)
    .default("decode")
    .describe(
      "decode: windows slide; prefill: streaming heads are cut once, at the end of a dense prompt, and then grow",
    ),
};

/** Moments of a choice of heads by these parameters. */
export function onceOrSliding({ prefill, when }: { prefill: Prefill; when: Moment }): Omit<HeadChoice, "mask"> {
  const once = when === "prefill";
  return { prefill: once ? "dense" : prefill, once };
}
