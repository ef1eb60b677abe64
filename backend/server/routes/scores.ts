import { z } from "zod";
import { headComparisonSchema, headScoresSchema } from "../../common/api/documents.ts";
import { documentId, modelRef, ordinal, shortName } from "../../common/api/fields.ts";
import { scoresEntrySchema } from "../../common/api/heads.ts";
import { parseScores } from "../../common/heads/scores.ts";
import { compareScores } from "../../heads/compare.ts";
import { route } from "../http/route.ts";
import { scoresId } from "../library/library.ts";

const id = z.object({ id: documentId.describe('path below the data folder, such as "start/induction.json"') });

export const scoreRoutes = [
  route({
    method: "get",
    path: "/scores",
    summary: "The score documents in the data folder",
    query: z.strictObject({ model: modelRef.optional().describe("only those made with this model") }),
    answer: { description: "A list of ScoresEntry", schema: z.array(scoresEntrySchema) },
    handle: async ({ query: { model } }, { library }) =>
      (await library.scores()).filter((each) => model === undefined || each.model.ref === model),
  }),
  route({
    method: "post",
    path: "/scores",
    summary: "Keeps a score document",
    body: () => headScoresSchema,
    size: "documentBytes",
    answer: { status: 201, description: "ScoresEntry", schema: scoresEntrySchema },
    async handle({ body }, { library, watcher }) {
      const scores = parseScores(body, "the document");
      const entry = await library.writeScores(scoresId(scores), scores);
      watcher.changed();
      return entry;
    },
  }),
  route({
    method: "get",
    path: "/scores/*id",
    summary: "One score document",
    params: id,
    answer: { description: "headscope.head-scores/1", schema: headScoresSchema },
    handle: ({ params }, { library }) => library.readScores(params.id),
  }),
  route({
    method: "delete",
    path: "/scores/*id",
    summary: "Removes a score document",
    params: id,
    answer: { status: 204, description: "Nothing" },
    async handle({ params }, { library, watcher }) {
      await library.remove(params.id, "scores");
      watcher.changed();
    },
  }),
  route({
    method: "get",
    path: "/comparison",
    summary: "Two models' heads by one metric of the same probe, by relative depth",
    query: z.strictObject({
      first: documentId.describe("score document"),
      second: documentId.describe("score document of the same probe"),
      metric: shortName.optional().describe("default: the main one"),
      top: ordinal.optional().describe("best heads of each model"),
    }),
    answer: { description: "HeadComparison", schema: headComparisonSchema },
    handle: async ({ query: { first, second, metric, top } }, { library }) =>
      compareScores(await library.readScores(first), await library.readScores(second), { metric, top }),
  }),
];
