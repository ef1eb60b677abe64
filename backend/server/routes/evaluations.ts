import { z } from "zod";
import { evaluationEntry, policyEvaluation } from "../../common/api/evaluations.ts";
import { shortName } from "../../common/api/fields.ts";
import { EVALUATION_FILES } from "../../evaluation/files/write.ts";
import { route, sendFile } from "../http/route.ts";
import { evaluationFile, findEvaluation, listEvaluations, removeEvaluation } from "../library/evaluations.ts";

const id = z.object({ id: shortName.describe("as the list of evaluations has it") });

/** The page of a report runs no scripts, and is shut off from the rest of the server. */
const REPORT_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox allow-downloads; frame-ancestors 'self'";

export const evaluationRoutes = [
  route({
    method: "get",
    path: "/evaluations",
    summary: "The evaluations of policies in the data folder, newest first",
    answer: { description: "A list of EvaluationEntry", schema: z.array(evaluationEntry) },
    handle: (_, { folder }) => listEvaluations(folder),
  }),
  route({
    method: "get",
    path: "/evaluations/:id",
    summary: "An evaluation: every policy at every budget on every task and length, with all answers",
    params: id,
    answer: { description: "headscope.policy-evaluation/2", schema: policyEvaluation },
    handle: ({ params }, { folder }) => findEvaluation(folder, params.id),
  }),
  route({
    method: "get",
    path: "/evaluations/:id/report.html",
    summary: "An evaluation as a page of its own",
    params: id,
    answer: { description: "One file with everything in it", type: "text/html" },
    async handle({ params, response }, { folder }) {
      const path = await evaluationFile(folder, params.id, EVALUATION_FILES.html);
      response.set({ "content-security-policy": REPORT_POLICY, "x-frame-options": "SAMEORIGIN" });
      return sendFile(response, path);
    },
  }),
  route({
    method: "delete",
    path: "/evaluations/:id",
    summary: "Removes an evaluation",
    params: id,
    answer: { status: 204, description: "Nothing; 409 while its job waits or is at work" },
    handle: ({ params }, { folder, store }) => removeEvaluation(folder, params.id, store),
  }),
];
