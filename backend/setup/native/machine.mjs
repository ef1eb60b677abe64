import { isThere } from "../process.mjs";
import { findPip, PIP_REMEDY } from "./pip.mjs";
import { hasLibraries } from "./tensorflow.mjs";

/**
 * Why this machine cannot have the native library, or undefined when it can.
 * @param {string} cache
 * @param {boolean} compiled whether the binding is in the cache, so that no compiler is needed
 * @param {{ platform?: string, arch?: string, there?: typeof isThere, pip?: typeof findPip, glibc?: string | undefined }} [machine]
 *   for tests: what to find instead of the real machine
 * @returns {Promise<string | undefined>} the reason with its remedy
 */
export async function whyNotNative(cache, compiled, machine = {}) {
  const { platform = process.platform, arch = process.arch, there = isThere, pip = findPip } = machine;
  if (platform !== "linux" || arch !== "x64")
    return `it exists for Linux on x86-64 only, this is ${platform} on ${arch}`;
  const glibc = "glibc" in machine ? machine.glibc : glibcVersion();
  if (!glibc || compareVersions(glibc, "2.27") < 0)
    return `it needs glibc 2.27 or later, this system has ${glibc ?? "none"}`;
  const missing = [];
  if (!compiled && !(await there("g++")))
    missing.push("there is no C++ compiler (Debian, Ubuntu: apt-get install g++)");
  if (!hasLibraries(cache) && !(await pip(cache))) missing.push(`there is no pip: ${PIP_REMEDY}`);
  return missing.length > 0 ? missing.join(", and ") : undefined;
}

/** @returns {string | undefined} version of the C library, undefined when it is not glibc */
function glibcVersion() {
  const report = /** @type {any} */ (process.report);
  report.excludeNetwork = true; // or it looks up the names of all open connections
  return report.getReport().header.glibcVersionRuntime;
}

/** @param {string} a @param {string} b @returns {number} negative when a is the older, as in "2.9" and "2.27" */
export function compareVersions(a, b) {
  const [x, y] = [a, b].map((text) => text.split(".").map(Number));
  for (let i = 0; i < 3; i++) if ((x?.[i] ?? 0) !== (y?.[i] ?? 0)) return (x?.[i] ?? 0) - (y?.[i] ?? 0);
  return 0;
}
