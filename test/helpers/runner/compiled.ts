import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { cacheDir } from "../../../backend/setup/files.mjs";
import { TENSORFLOW } from "../../../backend/setup/native/tensorflow.mjs";

/** Bytes of compiled functions above which a run begins anew. */
const LIMIT = 2 ** 29;

/**
 * The environment in which TensorFlow keeps what it has compiled in a folder, for all processes of a run and the runs after it:
 * most tests and programs need the same functions, and compiling them takes more time than all the rest. One is taken from there
 * where its whole graph is the same; the folder is of one version of TensorFlow and one kind of processor.
 */
export function keepsCompiled(): Record<string, string> {
  const all = join(cacheDir(), "compiled-for-tests");
  const kind = createHash("sha256").update(`${TENSORFLOW.version} ${cpus()[0]?.model}`).digest("hex").slice(0, 12);
  const folder = join(all, kind);
  if (/\s/.test(folder)) return {}; // the variable has no quotation marks
  mkdirSync(folder, { recursive: true });
  const sizes = readdirSync(folder).map((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
  const full = sizes.reduce((sum, size) => sum + size, 0) > LIMIT;
  for (const name of readdirSync(all))
    if (full || name !== kind) rmSync(join(all, name), { recursive: true, force: true });
  return {
    TF_XLA_FLAGS: `--tf_xla_persistent_cache_directory=${folder} --tf_xla_persistent_cache_device_types=CPU`,
    // That a function comes from a file is an error to TensorFlow, of level 2.
    TF_CPP_MIN_LOG_LEVEL: "3",
  };
}
