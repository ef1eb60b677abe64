import type { Bounds } from "../../common/api/fields.ts";
import { WAITING_JOBS } from "../../store/store.ts";

/** Limits of what one server takes and gives. */
export interface Limits extends Bounds {
  /** Characters of a URL (414). */
  readonly urlCharacters: number;
  /** Bytes of all headers of a request (431). */
  readonly headerBytes: number;
  /** Milliseconds in which a request's headers, and the whole of it, must have come (408). */
  readonly headersMs: number;
  readonly receiveMs: number;
  /** Connections at a time; near the limit those that have asked for nothing yet make room. */
  readonly connections: number;
  /** Bytes of a body (413). */
  readonly bodyBytes: number;
  /** Arrays and objects inside each other in a body, and how many values and keys it has in all (422). */
  readonly jsonDepth: number;
  readonly jsonValues: number;
  readonly jsonKeys: number;
  /** Bytes of a tensor in an answer (422). */
  readonly answerBytes: number;
  /** Tokens of all rows of one request together (422). */
  readonly rowTokens: number;
  /** Prompts whose tokens are remembered; older ones answer 404. */
  readonly prompts: number;
  /** Interactive requests that may wait for the one that is computed (429). */
  readonly waiting: number;
  /** Milliseconds of computing, as estimated, up to which a request is short: it does not wait for the end of a long one. */
  readonly shortMs: number;
  /** Milliseconds that one may compute, and that a long one may: patching, generation, exports (503). */
  readonly computeMs: number;
  readonly longComputeMs: number;
  /** Milliseconds that a stopped computation may take to end before its process is. */
  readonly graceMs: number;
  /** Jobs that wait (429), whichever way they come into the queue. */
  readonly queuedJobs: number;
  /** Who may listen to the events at a time (429), how many events are kept for those who come back, and bytes unread (the connection ends). */
  readonly listeners: number;
  readonly keptEvents: number;
  readonly unreadBytes: number;
  /** Milliseconds after which a listener makes room where another waits. */
  readonly listenerMs: number;
  /** Milliseconds between signs of life in a stream of events. */
  readonly heartbeatMs: number;
  /** Bytes of an exported text file that are shown. */
  readonly previewBytes: number;
}

/** The limits of a server that is told of no others. */
export const LIMITS: Limits = {
  urlCharacters: 8_192,
  headerBytes: 16_384,
  headersMs: 10_000,
  receiveMs: 60_000,
  connections: 256,
  bodyBytes: 1 << 20,
  documentBytes: 4 << 20,
  jsonDepth: 24,
  jsonValues: 131_072,
  jsonKeys: 16_384,
  answerBytes: 256 << 20,
  textCharacters: 200_000,
  promptTokens: 8_192,
  rows: 128,
  rowTokens: 65_536,
  entries: 4_096,
  newTokens: 4_096,
  seeds: 16,
  prompts: 256,
  waiting: 16,
  shortMs: 2_000,
  computeMs: 60_000,
  longComputeMs: 600_000,
  graceMs: 15_000,
  queuedJobs: WAITING_JOBS,
  listeners: 32,
  keptEvents: 2_000,
  unreadBytes: 4 << 20,
  listenerMs: 10_000,
  heartbeatMs: 15_000,
  previewBytes: 20_000,
};
