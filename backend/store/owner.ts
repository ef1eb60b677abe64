import { readFileSync } from "node:fs";
import { hostname } from "node:os";

/** The process that does a piece of work: enough to tell later whether it still lives. */
export interface Owner {
  readonly host: string;
  readonly pid: number;
  /** When it started, in the system's own unit: tells it from a later process with the same id; absent where unknown. */
  readonly start?: string | undefined;
}

/** Milliseconds without a heartbeat after which an owner counts as dead where the system cannot be asked. */
const SILENT = 10 * 60_000;

/** This process. */
export function self(): Owner {
  return { host: hostname(), pid: process.pid, start: startOf(process.pid) };
}

/**
 * Tells whether the process that owns a piece of work still lives.
 * @param heartbeat when it last gave a sign, milliseconds since 1970; decides only for another host's process
 */
export function isAlive(owner: Owner, heartbeat: number, now = Date.now()): boolean {
  const silent = now - heartbeat > SILENT;
  if (owner.host !== hostname()) return !silent;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const start = startOf(owner.pid);
  if (start !== undefined && owner.start !== undefined) return start === owner.start;
  return !silent;
}

/** The kernel's start time of a process (field 22 of /proc/PID/stat); undefined where there is no /proc. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A dead process that nobody has asked after yet does no work.
    return fields[0] === "Z" ? "ended" : fields[19];
  } catch {
    return undefined;
  }
}
