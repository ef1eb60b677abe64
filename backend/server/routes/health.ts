import { join } from "node:path";
import packageJson from "../../../package.json" with { type: "json" };
import { readJson } from "../../json.ts";
import type { Health } from "../api.ts";
import type { Library } from "../library.ts";
import { route } from "../route.ts";

export const healthRoutes = [
  route({
    method: "get",
    path: "/health",
    summary: "Version, backend, data folder, and where npm start left its results",
    answer: { description: "Health" },
    async handle(_, { folder, models, library }): Promise<Health> {
      const start = await startOf(folder, library);
      return {
        version: packageJson.version,
        ...(models.backend === undefined ? {} : { backend: models.backend }),
        folder,
        ...(start === undefined ? {} : { start }),
      };
    },
  }),
];

/** What the main job left in the data folder; undefined where it never ran, or wrote elsewhere. */
export async function startOf(folder: string, library: Library): Promise<Health["start"]> {
  try {
    const summary = await readJson(join(folder, "start", "summary.json"), "summary");
    const { model, training } = summary as { model: { ref: string }; training: { run: string } };
    const scores = (await library.scores()).filter(({ id }) => id.startsWith("start/")).map(({ id }) => id);
    const mask = (await library.masks()).find(({ id }) => id.startsWith("start/"))?.id;
    if (mask === undefined) return undefined;
    return { model: String(model.ref), run: String(training.run), scores, mask };
  } catch {
    return undefined; // none yet, or of another version: the pages do without
  }
}
