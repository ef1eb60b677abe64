import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { SetupError } from "../failure.mjs";
import { readIfThere } from "../files.mjs";
import { findPip, PIP_REMEDY } from "../native/pip.mjs";

/** @import { Step } from "../runner.mjs" */

/** The catalogue model that the main job and the tests use. */
export const MODEL = "smollm2-135m";

/** @type {Step} */
export const model = {
  name: `model ${MODEL}`,
  // only a first look, since the catalogue is bundled: the pull itself compares hashes and sizes, and does nothing twice
  needed({ cache }) {
    return readIfThere(join(cache, "models", MODEL, "manifest.json")) === undefined ? "not in the cache" : false;
  },
  async run({ root, cache, env, signal, progress, skip, log }) {
    if (!(await findPip(cache))) {
      skip(`no model ${MODEL}: there is no pip to fetch it with: ${PIP_REMEDY}`);
      return;
    }
    /** @type {typeof import("../../models/sources/pull.ts")} */
    const { pullModel } = await import(pathToFileURL(join(root, "dist/models/pull.js")).href);
    try {
      await pullModel(MODEL, {
        env,
        onOutput: log,
        ...(signal ? { signal } : {}),
        onProgress: ({ stage, done, total }) =>
          progress(
            done === undefined || !total
              ? stage
              : `${stage} ${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`,
          ),
      });
    } catch (error) {
      const { kind, message, remedy } = /** @type {import("../../common/errors.ts").HeadscopeError} */ (error);
      if (kind === undefined || kind === "usage" || kind === "busy" || kind === "crashed") throw error;
      throw new SetupError(kind, message, { cause: error, ...(remedy ? { remedy } : {}) });
    }
  },
};
