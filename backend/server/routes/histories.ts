import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { HISTORY_FORMAT, headHistorySchema } from "../../common/api/documents.ts";
import { documentId } from "../../common/api/fields.ts";
import { historyEntry, runId } from "../../common/api/runs.ts";
import { parseDocument } from "../../common/heads/document.ts";
import { leadsInside } from "../../files.ts";
import { readJson } from "../../json.ts";
import { notFound } from "../http/problems.ts";
import { route } from "../http/route.ts";
import { existingFile, pathOfId } from "../library/files.ts";

export const historyRoutes = [
  route({
    method: "get",
    path: "/histories",
    summary: "What probes said over the checkpoints of runs: ids by run",
    query: z.strictObject({ run: runId }),
    answer: { description: "A list of { id, run, probe }", schema: z.array(historyEntry) },
    async handle({ query: { run } }, { folder }) {
      const histories = join(folder, "histories", run);
      const inside = await leadsInside(folder, histories);
      const entries = inside ? await readdir(histories, { withFileTypes: true }).catch(() => []) : [];
      return entries
        .filter((each) => each.isFile() && each.name.endsWith(".json"))
        .map((each) => each.name)
        .sort()
        .map((each) => ({ id: `histories/${run}/${each}`, run, probe: each.replace(/-[0-9a-f]+\.json$/, "") }));
    },
  }),
  route({
    method: "get",
    path: "/histories/*id",
    summary: "One of them",
    params: z.object({ id: documentId.describe("path below the data folder, as a job of kind history gives it") }),
    answer: { description: "headscope.head-history/1", schema: headHistorySchema },
    async handle({ params: { id } }, { folder }) {
      const path = /^histories\/.+\.json$/.test(id) ? pathOfId(folder, id) : undefined;
      if (path === undefined) throw notFound(`there is no history ${id}`, "see GET /api/histories");
      const value = await readJson(await existingFile([folder], path), "history");
      const remedy = "score the run's checkpoints again";
      return parseDocument(headHistorySchema, value, { format: HISTORY_FORMAT, label: id, remedy });
    },
  }),
];
