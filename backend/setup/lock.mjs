import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, mkdir, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { errorCode, SetupError } from "./failure.mjs";

/**
 * @typedef {object} Owner who holds a lock
 * @property {number} pid
 * @property {string} host
 * @property {string} started the process's start time, so that a reused pid is not taken for the owner; "" if unknown
 */

/** @param {number} pid @returns {boolean} whether such a process runs on this machine */
export function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === "EPERM";
  }
}

/** @param {number} pid @returns {string} start time of a process in clock ticks since boot (Linux), else "" */
function startTime(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return ""; // no /proc on this system, or the process is gone: then the pid alone decides
  }
}

/** @param {string} text content of a lock file @returns {boolean} whether its owner is certainly gone */
export function isStale(text) {
  /** @type {Owner} */
  let owner;
  try {
    owner = JSON.parse(text);
  } catch {
    return true; // locks appear whole (by link), so this is not one of ours
  }
  if (owner.host !== hostname()) return false;
  return !isRunning(owner.pid) || (owner.started !== "" && startTime(owner.pid) !== owner.started);
}

/** @param {string} path @returns {string | undefined} */
function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/**
 * Removes a lock whose owner is gone. Only one process at a time may judge and remove (a folder beside the lock is
 * their turn), or a slow one would remove the fresh lock of a quick one.
 * @param {string} path
 */
async function removeStale(path) {
  const turn = `${path}.removing`;
  try {
    await mkdir(turn);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") throw error;
    const since = await stat(turn).catch(() => undefined);
    if (since && Date.now() - since.mtimeMs > 10_000) await rmdir(turn).catch(() => {}); // killed in its turn
    return;
  }
  try {
    const text = read(path);
    if (text !== undefined && isStale(text)) await rm(path, { force: true });
  } finally {
    await rmdir(turn).catch(() => {});
  }
}

/**
 * Runs `work` while no other process holds the same lock; waits for the holder, takes over from a dead one.
 * @template T
 * @param {string} path the lock file; its folder is made
 * @param {() => Promise<T>} work
 * @param {{ onWait?: (owner: string) => void, signal?: AbortSignal | undefined, pollMs?: number }} [options]
 *   `onWait` is called once when the lock is held; `pollMs` between two tries, default 100 ms
 * @returns {Promise<T>}
 * @throws {SetupError} kind cancelled, when `signal` aborts the wait
 */
export async function withLock(path, work, { onWait, signal, pollMs = 100 } = {}) {
  await mkdir(dirname(path), { recursive: true });
  const mine = `${path}.${process.pid}.${randomBytes(4).toString("hex")}.part`;
  const owner = { pid: process.pid, host: hostname(), started: startTime(process.pid) };
  await writeFile(mine, JSON.stringify({ ...owner, token: randomBytes(8).toString("hex") }));
  try {
    for (let waited = false; ; ) {
      try {
        await link(mine, path); // appears whole or not at all
        break;
      } catch (error) {
        if (errorCode(error) !== "EEXIST") throw error;
      }
      const text = read(path);
      if (text === undefined) continue;
      if (isStale(text)) await removeStale(path);
      else if (!waited) {
        waited = true;
        onWait?.(`process ${JSON.parse(text).pid}`);
      }
      if (signal?.aborted) throw new SetupError("cancelled", "interrupted while waiting for another process");
      await sleep(pollMs);
    }
  } finally {
    await rm(mine, { force: true });
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}
