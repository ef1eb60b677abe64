/** Factor by which everything may take longer here than on a quiet machine: vitest.config.ts measures it once for all test files. */
const PATIENCE = Number(process.env["HEADSCOPE_TEST_PATIENCE"] ?? 1);

/** A limit for this machine. @param milliseconds what is ample on a quiet one */
export function patiently(milliseconds: number): number {
  return Math.ceil(milliseconds * PATIENCE);
}

/**
 * The factor of all limits: how long a piece of work takes on the clock beside what it takes of a processor, with room for a
 * machine that gets busier afterwards. HEADSCOPE_TEST_PATIENCE sets it.
 */
export function measuredPatience(): number {
  const set = Number(process.env["HEADSCOPE_TEST_PATIENCE"]);
  if (set > 0) return set;
  const start = performance.now();
  const before = process.cpuUsage();
  const used = () => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  while (used() < 100);
  return Math.max(5, 4 * Math.round((performance.now() - start) / used()));
}
