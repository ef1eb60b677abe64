import type { StartState } from "../../../backend/common/api/health.ts";

type Part = StartState["part"];

/** The parts of the job of `npm start` in their order, as a person reads them. */
const TITLES: Readonly<Record<Part, string>> = {
  training: "A toy transformer learns to copy",
  model: "A real model is fetched and opened",
  scores: "Every head is scored",
  ablation: "The best heads are taken out",
  sentence: "A sentence goes on",
  needle: "A question about a long text, with less memory",
  files: "Files for inference engines",
};

/** One part of the job, and how it stands. */
export interface PartLine {
  readonly part: Part;
  readonly title: string;
  readonly state: "done" | "now" | "waits";
}

/** Every part of the job with what has become of it; of a job that has ended well all are done. */
export function partLines({ status, part }: Pick<StartState, "status" | "part">): PartLine[] {
  const parts = Object.keys(TITLES) as Part[];
  const at = parts.indexOf(part);
  return parts.map((each, i) => {
    const state = status === "done" || i < at ? "done" : i === at && status === "running" ? "now" : "waits";
    return { part: each, title: TITLES[each], state };
  });
}
