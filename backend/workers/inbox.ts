import { readSync } from "node:fs";
import type { Socket } from "node:net";
import { type Frame, FrameDecoder } from "../jobs/protocol.ts";

/** Milliseconds between looks while native work holds the event loop. */
const LOOK = 20;

/**
 * The pipe from the parent. Native work holds the event loop, which then hears of nothing: `look` reads the pipe itself, and so
 * a cancel is heard between two layers of one long forward.
 */
export class Inbox {
  readonly #fd: number;
  readonly #decoder = new FrameDecoder();
  readonly #receive: (frame: Frame) => void;
  readonly #part = Buffer.alloc(65_536);
  #looked = 0;

  /** @param socket over `fd`; what it reads is taken from here on */
  constructor(socket: Socket, fd: number, receive: (frame: Frame) => void) {
    this.#fd = fd;
    this.#receive = receive;
    socket.on("data", (chunk: Uint8Array) => this.#take(chunk));
  }

  /** Takes what has arrived, unless it looked just before. */
  look(): void {
    const now = performance.now();
    if (now - this.#looked < LOOK) return;
    this.#looked = now;
    for (;;) {
      const count = this.#readSome();
      if (count === 0) return;
      this.#take(Uint8Array.from(this.#part.subarray(0, count)));
    }
  }

  /** @returns bytes read; 0 where nothing waits or the pipe is closed, which the socket's events tell of */
  #readSome(): number {
    try {
      return readSync(this.#fd, this.#part);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") return 0;
      throw error;
    }
  }

  #take(chunk: Uint8Array): void {
    for (const frame of this.#decoder.push(chunk)) this.#receive(frame);
  }
}

/** A controller whose signal looks into the inbox before it says whether to go on. */
export function attentiveController(inbox: Inbox): AbortController {
  const controller = new AbortController();
  const { signal } = controller;
  signal.throwIfAborted = () => {
    inbox.look();
    AbortSignal.prototype.throwIfAborted.call(signal);
  };
  return controller;
}
