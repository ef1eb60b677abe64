/**
 * @typedef {"missing" | "network" | "mismatch" | "corrupt" | "unsupported" | "cancelled" | "input"} FailureKind
 */

/** A step of the set-up that could not be done: one line that says what and why, and one that says what to do. */
export class SetupError extends Error {
  /**
   * @param {FailureKind} kind
   * @param {string} message one line: what failed and why
   * @param {{ remedy?: string, cause?: unknown }} [options] `remedy`: what to do, one line
   */
  constructor(kind, message, { remedy, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "SetupError";
    /** @type {FailureKind} */
    this.kind = kind;
    /** @type {string | undefined} */
    this.remedy = remedy;
  }
}

/** @param {unknown} error @returns {string | undefined} the system's error code, such as ENOENT */
export function errorCode(error) {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
