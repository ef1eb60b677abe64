/** Whether a run or job waits or works. */
export function isActive(status: string): boolean {
  return status === "queued" || status === "running";
}

/** Whether a job has come to its end, so that the list can do without it. */
export function hasEnded(status: string): boolean {
  return status === "done" || status === "failed" || status === "cancelled";
}

/** Whether a run was stopped on its way and can go on. */
export function canResume(status: string): boolean {
  return status === "cancelled" || status === "interrupted" || status === "failed";
}
