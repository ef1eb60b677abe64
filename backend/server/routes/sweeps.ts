import { unlink } from "node:fs/promises";
import { z } from "zod";
import { shortName } from "../../common/api/fields.ts";
import { sweepDocument, sweepEntry } from "../../common/api/sweeps.ts";
import { findSweep, keptSweepPath, keptSweeps } from "../../jobs/sweeps/kept.ts";
import { route } from "../http/route.ts";

const id = z.object({ id: shortName.describe("as the list of sweeps has it") });

export const sweepRoutes = [
  route({
    method: "get",
    path: "/sweeps",
    summary: "The sweeps that have a phase diagram, newest first; POST /api/jobs of kind sweep makes one",
    answer: { description: "A list of SweepEntry", schema: z.array(sweepEntry) },
    handle: (_, { folder }) => keptSweeps(folder),
  }),
  route({
    method: "get",
    path: "/sweeps/:id",
    summary: "A sweep: its points with their runs, and what those have measured so far",
    params: id,
    answer: { description: "SweepDocument", schema: sweepDocument },
    handle: ({ params }, { store }) => findSweep(store, params.id),
  }),
  route({
    method: "delete",
    path: "/sweeps/:id",
    summary: "Takes a sweep off the list; its runs stay",
    params: id,
    answer: { status: 204, description: "Nothing" },
    handle: async ({ params }, { folder }) => unlink(await keptSweepPath(folder, params.id)),
  }),
];
