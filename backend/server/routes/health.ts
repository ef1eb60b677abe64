import { z } from "zod";
import packageJson from "../../../package.json" with { type: "json" };
import { health, queueEntry } from "../../common/api/health.ts";
import { route } from "../http/route.ts";

export const healthRoutes = [
  route({
    method: "get",
    path: "/health",
    summary: "Version, backend, data folder, and how far npm start is or where it left its results",
    answer: { description: "Health", schema: health },
    async handle(_, { folder, models: { backend }, library }) {
      return { version: packageJson.version, backend, folder, start: await library.start() };
    },
  }),
];

export const queueRoutes = [
  route({
    method: "get",
    path: "/queue",
    summary: "What the resident worker computes and what waits for it, in order; x-request-id names one's own",
    answer: { description: "QueueEntry[]", schema: z.array(queueEntry) },
    handle: (_, { interactive }) => interactive.queue,
  }),
];
