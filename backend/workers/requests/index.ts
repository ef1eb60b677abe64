import { kinds } from "../../jobs/kinds/index.ts";
import type { Handlers } from "../handler.ts";

/** The requests that a person waits for, by name: every file here is one. */
export const requests = {
  describe: () => import("./describe.ts"),
  count: () => import("./count.ts"),
  prompt: () => import("./prompt.ts"),
  activations: () => import("./activations.ts"),
  patterns: () => import("./patterns.ts"),
  ablate: () => import("./ablate.ts"),
  intervene: () => import("./intervene.ts"),
  pairs: () => import("./pairs.ts"),
  patch: () => import("./patch.ts"),
  generate: () => import("./generate.ts"),
  export: () => import("./export.ts"),
  import: () => import("./import.ts"),
} satisfies Handlers;

/** All that a worker of headscope can do: requests, and the worker's part of every kind of job. */
export const handlers: Handlers = {
  ...requests,
  ...Object.fromEntries(kinds.map((kind) => [kind.name, async () => ({ request: kind })])),
};
