let count = 0;

/** Forwards that this process has begun, of a part of a prompt or of one token too. */
export function forwardsRun(): number {
  return count;
}

/** Counts a forward. */
export function countForward(): void {
  count++;
}
