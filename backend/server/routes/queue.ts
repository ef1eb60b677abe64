import { z } from "zod";
import { queueEntry } from "../../common/api/health.ts";
import { route } from "../http/route.ts";

export const queueRoutes = [
  route({
    method: "get",
    path: "/queue",
    summary: "What the resident worker computes and what waits for it, in order; x-request-id names one's own",
    answer: { description: "QueueEntry[]", schema: z.array(queueEntry) },
    handle: (_, { interactive }) => interactive.queue,
  }),
];
