import { readFileSync } from "node:fs";

/**
 * The most memory that this process held. On Linux its own status says it; what getrusage gives begins with what the process that
 * started this one held then.
 */
export function peakBytes(): number {
  try {
    const held = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"));
    if (held) return 1024 * Number(held[1]);
  } catch {
    // not Linux
  }
  return 1024 * process.resourceUsage().maxRSS;
}
