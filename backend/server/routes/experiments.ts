import { join } from "node:path";
import { z } from "zod";
import { experiments, latestReport } from "../../../experiments/index.ts";
import { REPORT_HTML, type Report, reportSchema } from "../../reports/report.ts";
import type { ExperimentEntry } from "../api.ts";
import { shortName } from "../fields.ts";
import { existingFile } from "../files.ts";
import { route, SENT } from "../route.ts";

const PRESETS = ["quick", "full"] as const;
const name = z.object({ name: shortName });
const preset = z.strictObject({ preset: z.enum(PRESETS).optional().describe("default: the newest") });

/** The page of a report draws its figures with a script of its own: it is shut off from the rest of the server. */
const REPORT_POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; " +
  "sandbox allow-scripts allow-downloads; frame-ancestors 'self'";

export const experimentRoutes = [
  route({
    method: "get",
    path: "/experiments",
    summary: "The experiments, each with its reports, newest first",
    answer: { description: "A list of ExperimentEntry" },
    handle: (_, { folder }) => Promise.all(experiments.list().map((each) => entry(each.name, each.title, folder))),
  }),
  route({
    method: "get",
    path: "/experiments/:name/report",
    summary: "A report as data",
    params: name,
    query: preset,
    answer: { description: "headscope.report/1", schema: reportSchema },
    handle: async ({ params, query }, { folder }) =>
      (await latestReport(experiments.get(params.name).name, query.preset, folder)).report,
  }),
  route({
    method: "get",
    path: "/experiments/:name/report.html",
    summary: "A report as a page of its own",
    params: name,
    query: preset,
    answer: { description: "One file with everything in it", type: "text/html" },
    async handle({ params, query, response }, { folder }) {
      const found = await latestReport(experiments.get(params.name).name, query.preset, folder);
      const path = await existingFile([folder], join(found.folder, REPORT_HTML));
      response.set({ "content-security-policy": REPORT_POLICY, "x-frame-options": "SAMEORIGIN" });
      await new Promise<void>((done, fail) =>
        response.sendFile(path, { dotfiles: "allow", cacheControl: false }, (error) => (error ? fail(error) : done())),
      );
      return SENT;
    },
  }),
];

async function entry(experiment: string, title: string, folder: string): Promise<ExperimentEntry> {
  const found = await Promise.all(
    PRESETS.map((each) =>
      latestReport(experiment, each, folder).then(
        ({ report }) => [report],
        () => [],
      ),
    ),
  );
  const reports = found.flat().sort((a, b) => b.created.localeCompare(a.created));
  return { name: experiment, title, reports: reports.map(shortened) };
}

function shortened({ preset, created, summary, claims }: Report): ExperimentEntry["reports"][number] {
  const verdicts: Record<string, number> = {};
  for (const { verdict } of claims) verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
  return { preset, created, summary, verdicts };
}
