import { z } from "zod";
import { EventStream } from "../events/stream.ts";
import { clientOf } from "../http/guard.ts";
import { limited } from "../http/problems.ts";
import { route, SENT } from "../http/route.ts";

export const eventRoutes = [
  route({
    method: "get",
    path: "/events",
    summary: "Jobs, runs, measurements, checkpoints and documents as they change; Last-Event-ID goes on after an event",
    query: z.strictObject({}),
    answer: { description: "Events: job, run, metrics, checkpoint, library, reset", type: "text/event-stream" },
    async handle({ request, response, signal }, { events, limits, watcher }) {
      const client = clientOf(response);
      if (!events.makeRoom(client, limits.listeners, limits.listenerMs))
        throw limited(429, `${limits.listeners} pages listen already`, "close some of them");
      const last = request.headers["last-event-id"];
      // What happened while nobody listened is told now, to those who come back.
      watcher.look();
      const missed = events.since(typeof last === "string" ? last : undefined);
      const stream = new EventStream(response, limits);
      const end = events.listen(({ name, data, id }) => stream.send(name, data, id), {
        client,
        leave: () => stream.end(),
      });
      signal.addEventListener("abort", end, { once: true });
      if (missed === undefined) stream.send("reset", {}, events.last);
      for (const { name, data, id } of missed ?? []) stream.send(name, data, id);
      return SENT;
    },
  }),
];
