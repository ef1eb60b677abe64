import type { Response } from "express";
import type { Limits } from "../http/limits.ts";

/** Writes server-sent events to one client. */
export class EventStream {
  readonly #response: Response;
  readonly #limits: Limits;
  readonly #beat: NodeJS.Timeout;

  /** Sends the headers. */
  constructor(response: Response, limits: Limits) {
    this.#response = response;
    this.#limits = limits;
    response.status(200).set({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    response.flushHeaders();
    // The connection keeps the server alive, not its heartbeat.
    this.#beat = setInterval(() => this.#write(":\n\n"), limits.heartbeatMs).unref();
    response.on("close", () => clearInterval(this.#beat));
  }

  /** @param id what Last-Event-ID brings back; for streams that can be gone on with */
  send(name: string, data: unknown, id?: string): void {
    const head = id === undefined ? "" : `id: ${id}\n`;
    this.#write(`${head}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    clearInterval(this.#beat);
    this.#response.end();
  }

  #write(text: string): void {
    if (this.#response.destroyed) return;
    this.#response.write(text);
    // Who does not read is not kept in memory: the browser comes back by itself.
    if (this.#response.writableLength > this.#limits.unreadBytes) this.#response.destroy();
  }
}
