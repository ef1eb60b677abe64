/** First tokens that a streaming head keeps, in tokens, unless told otherwise. */
export const DEFAULT_SINK = 64;
/** Latest tokens that a streaming head keeps, itself included, unless told otherwise. */
export const DEFAULT_RECENT = 256;

/** Tokens that a streaming head keeps. */
export interface MaskWindow {
  /** First tokens, default 64. */
  readonly sink?: number | undefined;
  /** Latest tokens, default 256. */
  readonly recent?: number | undefined;
}
