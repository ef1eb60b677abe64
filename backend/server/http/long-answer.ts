import { report } from "../../setup/terminal.mjs";
import type { WorkerRequests } from "../../workers/requests/index.ts";
import type { ServerContext } from "../context.ts";
import { EventStream } from "../events/stream.ts";
import type { Effort } from "../interactive/effort.ts";
import { answerOf } from "./problems.ts";
import { type OperationRequest, SENT } from "./route.ts";

/**
 * Answers with what the worker makes of a request: as JSON, or to one who accepts text/event-stream as its events on the way, then
 * one `done` with the result or one `error` with a problem. What is refused before the first event is an ordinary problem.
 */
export async function answerLong<K extends keyof WorkerRequests>(
  {
    request,
    response,
    signal,
    caller,
  }: Pick<OperationRequest<unknown, unknown, unknown>, "request" | "response" | "signal" | "caller">,
  { interactive, limits }: ServerContext,
  { kind, payload, effort }: { kind: K; payload: WorkerRequests[K]["payload"]; effort: Effort },
): Promise<WorkerRequests[K]["answer"] | typeof SENT> {
  const options = { caller, effort, long: true };
  if (request.accepts(["application/json", "text/event-stream"]) !== "text/event-stream")
    return interactive.ask(kind, payload, { ...options, signal });
  let stream: EventStream | undefined;
  const open = (): EventStream => {
    stream ??= new EventStream(response, limits);
    return stream;
  };
  try {
    const onEvent = (workerEvent: unknown): void => {
      const { event, ...data } = workerEvent as { event: string };
      open().send(event, data);
    };
    const result = await interactive.ask(kind, payload, { ...options, signal, onEvent });
    open().send("done", result);
  } catch (error) {
    if (stream === undefined || signal.aborted) throw error;
    const { problem, defect } = answerOf(error);
    if (defect) report(`headscope: ${kind}:`, error);
    stream.send("error", problem);
  }
  open().end();
  return SENT;
}
