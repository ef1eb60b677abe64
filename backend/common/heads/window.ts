/** First tokens that a streaming head keeps, in tokens, unless told otherwise. */
export const DEFAULT_SINK = 64;
/** Latest tokens that a streaming head keeps, itself included, unless told otherwise. */
export const DEFAULT_RECENT = 256;
