import { existsSync, statSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { partOf } from "../files.mjs";
import { runProcess } from "../process.mjs";

const SOURCE = fileURLToPath(new URL("second-signal.cc", import.meta.url));
const COMPILE = ["-std=c++17", "-O2", "-fPIC", "-DNAPI_VERSION=8", "-shared", "-s"];

/**
 * Compiles what ends a busy command line at the second Ctrl-C to dist/, in about half a second. Where that cannot be done the
 * command line works as well, but hears of Ctrl-C only between two computations.
 * @param {string} root of the repository
 */
export async function buildSecondSignal(root) {
  const built = join(root, "dist", "second-signal.node");
  if (existsSync(built) && statSync(built).mtimeMs >= statSync(SOURCE).mtimeMs) return;
  const part = partOf(built);
  await mkdir(join(root, "dist"), { recursive: true });
  const include = `-I${join(root, "node_modules/node-api-headers/include")}`;
  const { code } = await runProcess("g++", [...COMPILE, include, SOURCE, "-o", part]);
  if (code === 0) await rename(part, built);
  else await rm(part, { force: true });
}
