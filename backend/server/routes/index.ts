import type { Route } from "../http/route.ts";
import { definitionRoutes } from "./definitions.ts";
import { evaluationRoutes } from "./evaluations.ts";
import { eventRoutes } from "./events.ts";
import { experimentRoutes } from "./experiments.ts";
import { exportRoutes } from "./exports.ts";
import { footprintRoutes } from "./footprint.ts";
import { generationRoutes } from "./generation.ts";
import { healthRoutes, queueRoutes } from "./health.ts";
import { historyRoutes } from "./histories.ts";
import { interventionRoutes } from "./interventions.ts";
import { jobRoutes } from "./jobs.ts";
import { maskRoutes } from "./masks.ts";
import { folderRoutes, modelRoutes } from "./models.ts";
import { promptRoutes } from "./prompts.ts";
import { questionRoutes } from "./questions.ts";
import { runRoutes } from "./runs.ts";
import { scoreRoutes } from "./scores.ts";
import { sweepRoutes } from "./sweeps.ts";

/** Every operation of the API, by resource. */
export const routes: readonly Route[] = [
  ...healthRoutes,
  ...definitionRoutes,
  ...modelRoutes,
  ...folderRoutes,
  ...runRoutes,
  ...jobRoutes,
  ...scoreRoutes,
  ...maskRoutes,
  ...promptRoutes,
  ...interventionRoutes,
  ...questionRoutes,
  ...generationRoutes,
  ...footprintRoutes,
  ...exportRoutes,
  ...evaluationRoutes,
  ...experimentRoutes,
  ...sweepRoutes,
  ...historyRoutes,
  ...queueRoutes,
  ...eventRoutes,
];
