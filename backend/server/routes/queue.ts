import type { QueueEntry } from "../../common/api/health.ts";
import { route } from "../http/route.ts";

export const queueRoutes = [
  route({
    method: "get",
    path: "/queue",
    summary: "What the resident worker computes and what waits for it, in order; x-request-id names one's own",
    answer: { description: "QueueEntry[]" },
    handle: (_, { interactive }): QueueEntry[] => interactive.queue,
  }),
];
