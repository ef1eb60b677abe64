/** Whether a run or job waits or works. */
export function isActive(status: string): boolean {
  return status === "queued" || status === "running";
}

/** Whether a run was stopped on its way and can go on. */
export function canResume(status: string): boolean {
  return status === "cancelled" || status === "interrupted" || status === "failed";
}
