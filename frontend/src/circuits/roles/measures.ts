import type { RoleMeasure } from "../../../../backend/common/heads/roles.ts";

/** The measures of roles, as they are shown. */
export const MEASURES: Readonly<Record<RoleMeasure, { readonly label: string; readonly title: string }>> = {
  attention: { label: "attention", title: "Share of the attention from the one place that goes to the other" },
  direct: {
    label: "direct effect",
    title: "What of the measure is lost when the head alone brings the corrupt run's output to the logits",
  },
  copying: {
    label: "copying",
    title: "Logit of the token that is looked at, by the head's value there, in standard deviations above the mean",
  },
  queries: {
    label: "through the movers' queries",
    title: "What of the measure is lost when the name movers' queries read the head's output of the corrupt run",
  },
};
