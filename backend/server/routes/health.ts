import packageJson from "../../../package.json" with { type: "json" };
import type { Health } from "../../common/api/health.ts";
import { health } from "../../common/api/health.ts";
import { route } from "../http/route.ts";

export const healthRoutes = [
  route({
    method: "get",
    path: "/health",
    summary: "Version, backend, data folder, and how far npm start is or where it left its results",
    answer: { description: "Health", schema: health },
    async handle(_, { folder, models, library }): Promise<Health> {
      const start = await library.start();
      return {
        version: packageJson.version,
        backend: models.backend,
        folder,
        start,
      };
    },
  }),
];
