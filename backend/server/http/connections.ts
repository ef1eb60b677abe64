import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** Of the connections that a server may have, the part that is kept free for newcomers. */
const RESERVE = 1 / 16;

/**
 * Keeps room for those who ask for something: near the limit, each newcomer ends the connection that has waited longest
 * without a whole request, be it idle or half sent; where there is none, the one that leaves its answer unread.
 * @param most connections at a time
 */
export function keepRoom(server: Server, most: number): void {
  const free = Math.ceil(most * RESERVE);
  /** Requests in work by connection, those that changed least recently first. */
  const open = new Map<Socket, number>();
  server.on("connection", (socket: Socket) => {
    if (open.size >= most - free) dispensable(open)?.destroy();
    open.set(socket, 0);
    socket.once("close", () => open.delete(socket));
  });
  // Where all were being answered when the last came, there is no room: who is refused makes some for the next.
  server.on("drop", () => dispensable(open)?.destroy());
  server.on("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    open.set(socket, (open.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const left = (open.get(socket) ?? 1) - 1;
      open.delete(socket); // to the end
      if (!socket.destroyed) open.set(socket, left);
    });
  });
}

function dispensable(open: ReadonlyMap<Socket, number>): Socket | undefined {
  const connections = [...open];
  const spare =
    connections.find(([, requests]) => requests === 0) ?? connections.find(([socket]) => socket.writableLength > 0);
  return spare?.[0];
}
