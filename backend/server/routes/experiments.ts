import { join } from "node:path";
import { z } from "zod";
import { compareReports, experiments, findReport, keptReports } from "../../../experiments/index.ts";
import {
  type ExperimentEntry,
  experimentEntry,
  type ReportComparison,
  reportComparison,
} from "../../common/api/experiments.ts";
import { shortName } from "../../common/api/fields.ts";
import { reportSchema } from "../../common/figures/report.ts";
import { PRESETS } from "../../common/words.ts";
import { REPORT_HTML } from "../../reports/report.ts";
import { toSvg } from "../../reports/svg.ts";
import { notFound } from "../http/problems.ts";
import { route, SENT, sendFile } from "../http/route.ts";
import { existingFile } from "../library/files.ts";

const name = z.object({ name: shortName });
const reportId = shortName.describe("id of a report, as the list of experiments has it");
const choice = z.strictObject({
  id: reportId.optional().describe("which report; default: the newest"),
  preset: z.enum(PRESETS).optional().describe("the newest of this preset"),
});

/** The page of a report draws its figures with a script of its own: it is shut off from the rest of the server. */
const REPORT_POLICY =
  "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; " +
  "sandbox allow-scripts allow-downloads; frame-ancestors 'self'";

/** A picture fetches nothing and runs nothing, also where it is opened by itself. */
const FIGURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'";

export const experimentRoutes = [
  route({
    method: "get",
    path: "/experiments",
    summary: "The experiments, each with its reports, newest first",
    answer: { description: "A list of ExperimentEntry", schema: z.array(experimentEntry) },
    handle: (_, { folder }): Promise<ExperimentEntry[]> =>
      Promise.all(
        experiments.list().map(async (each) => {
          const { name, title } = each;
          return { name, title, reports: await keptReports(each, folder) };
        }),
      ),
  }),
  route({
    method: "get",
    path: "/experiments/:name/report",
    summary: "A report as data",
    params: name,
    query: choice,
    answer: { description: "headscope.report/1", schema: reportSchema },
    handle: async ({ params, query }, { folder }) =>
      (await findReport(experiments.get(params.name), query, folder)).report,
  }),
  route({
    method: "get",
    path: "/experiments/:name/figure",
    summary: "The central figure of a report as a picture",
    params: name,
    query: choice,
    answer: { description: "SVG, drawn on white", type: "image/svg+xml" },
    async handle({ params, query, response }, { folder }) {
      const { report, entry } = await findReport(experiments.get(params.name), query, folder);
      const [figure] = report.figures;
      if (figure === undefined) throw notFound(`report ${entry.id} has no figure`, "choose another report");
      response.set({ "content-security-policy": FIGURE_POLICY }).type("image/svg+xml").send(toSvg(figure));
      return SENT;
    },
  }),
  route({
    method: "get",
    path: "/experiments/:name/comparison",
    summary: "Two reports beside each other: the parameters that differ, and what became of every claim",
    params: name,
    query: z.strictObject({ first: reportId, second: reportId }),
    answer: { description: "ReportComparison", schema: reportComparison },
    async handle({ params, query }, { folder }): Promise<ReportComparison> {
      const experiment = experiments.get(params.name);
      const [first, second] = await Promise.all(
        [query.first, query.second].map((id) => findReport(experiment, { id }, folder)),
      );
      return compareReports(first!.report, second!.report);
    },
  }),
  route({
    method: "get",
    path: "/experiments/:name/report.html",
    summary: "A report as a page of its own",
    params: name,
    query: choice,
    answer: { description: "One file with everything in it", type: "text/html" },
    async handle({ params, query, response }, { folder }) {
      const report = await findReport(experiments.get(params.name), query, folder);
      const path = await existingFile([folder], join(report.folder, REPORT_HTML));
      response.set({ "content-security-policy": REPORT_POLICY, "x-frame-options": "SAMEORIGIN" });
      return sendFile(response, path);
    },
  }),
];
