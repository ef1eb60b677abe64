import { existsSync } from "node:fs";
import { join } from "node:path";
import { SetupError } from "../failure.mjs";
import { readIfThere } from "../files.mjs";
import { lastLine, runProcess } from "../process.mjs";

/** @import { Context, Step } from "../runner.mjs" */

/**
 * @typedef {{ version?: string, integrity?: string, optional?: boolean }} Locked
 * @typedef {{ packages: Record<string, Locked> }} Lock
 */

/**
 * Why node_modules is not what the lock file asks for, or false when it is. npm writes its own lock
 * (node_modules/.package-lock.json) last, so an interrupted installation has none.
 * @param {string} root
 * @returns {string | false}
 */
export function dependenciesNeeded(root) {
  const installed = readIfThere(join(root, "node_modules", ".package-lock.json"));
  if (installed === undefined) return "not installed";
  /** @type {Lock} */
  let have;
  try {
    have = JSON.parse(installed);
  } catch {
    return "not installed whole";
  }
  /** @type {Lock} */
  const want = JSON.parse(readIfThere(join(root, "package-lock.json")) ?? '{"packages":{}}');
  for (const [path, locked] of Object.entries(want.packages)) {
    if (path === "") continue;
    const name = path.slice("node_modules/".length);
    const found = have.packages[path];
    if (found === undefined) {
      if (locked.optional) continue; // made for another platform
      return `${name} is not installed`;
    }
    if (found.version !== locked.version || found.integrity !== locked.integrity) return `${name} has another version`;
    if (!existsSync(join(root, path))) return `${name} is not installed`;
  }
  return false;
}

/**
 * Command of npm: as it called us, else by its name.
 * @param {NodeJS.ProcessEnv} env
 * @returns {[program: string, ...first: string[]]}
 */
function npm(env) {
  const path = env["npm_execpath"];
  return path && /npm-cli\.c?js$/.test(path) ? [process.execPath, path] : ["npm"];
}

/** @param {string} output of npm @returns {SetupError} */
export function npmFailure(output) {
  if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|network/i.test(output))
    return new SetupError("network", "npm could not reach its registry", {
      remedy: "check the network and npm's settings (npm config list), then run again",
    });
  if (/ENOSPC/.test(output))
    return new SetupError("missing", "no space left for node_modules", { remedy: "free some space, then run again" });
  const line = output.split("\n").find((text) => /npm (error|ERR!)(?! code)/i.test(text)) ?? lastLine(output);
  return new SetupError("missing", `npm ci failed: ${line.trim()}`, {
    remedy: "run again with --verbose to see all that npm says",
  });
}

/** @type {Step} */
export const dependencies = {
  name: "dependencies",
  needed: ({ root }) => dependenciesNeeded(root),
  async run({ root, env, signal, progress, log }) {
    progress("npm ci");
    const [program, ...first] = npm(env);
    // said here, whatever flags npm itself was started with
    const args = ["ci", "--ignore-scripts", "--include=dev", "--no-audit", "--no-fund", "--loglevel=error"];
    const ran = await runProcess(program, [...first, ...args], { cwd: root, env, signal, onOutput: log });
    if (ran.code === 127)
      throw new SetupError("missing", "npm is not there", {
        remedy: "install npm (it comes with Node.js) and run again",
      });
    if (ran.code !== 0) throw npmFailure(ran.output);
  },
};
