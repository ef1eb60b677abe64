import { describe, expect, it, vi } from "vitest";
import { get, stream } from "../../../frontend/src/api/client.ts";

const problem = { type: "about:blank", title: "Not found", status: 404, detail: "no such model", kind: "input" };

describe("the client", () => {
  it("says what the server refused", async () => {
    vi.stubGlobal("fetch", async () => Response.json(problem, { status: 404 }));
    await expect(get("/api/models/x")).rejects.toMatchObject({ problem });
    vi.stubGlobal("fetch", async () => new Response("<html>", { status: 502 }));
    await expect(get("/api/models/x")).rejects.toMatchObject({ problem: { status: 502, kind: "defect" } });
  });

  it("says that the server does not answer, and passes on that a request was given up", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    await expect(get("/api/health")).rejects.toMatchObject({ problem: { kind: "network", status: 0 } });
    vi.stubGlobal("fetch", () => Promise.reject(new DOMException("given up", "AbortError")));
    await expect(get("/api/health")).rejects.toMatchObject({ name: "AbortError" });
  });

  it("reads server-sent events wherever the network cuts them, and leaves out comments", async () => {
    const text =
      ': hello\n\nevent: token\ndata: {"text":"à la"}\n\ndata: {"n":1}\n\nevent: error\ndata: {"detail":"busy"}\n\n';
    const raw = new TextEncoder().encode(text);
    for (const size of [1, 2, 7, raw.length]) {
      const parts = Array.from({ length: Math.ceil(raw.length / size) }, (_, i) => raw.slice(i * size, (i + 1) * size));
      const body = new ReadableStream({
        start(controller) {
          for (const part of parts) controller.enqueue(part);
          controller.close();
        },
      });
      vi.stubGlobal("fetch", async () => new Response(body, { headers: { "content-type": "text/event-stream" } }));
      const seen: unknown[] = [];
      const all = async (): Promise<void> => {
        for await (const event of stream("/api/generate", {})) seen.push(event);
      };
      await expect(all()).rejects.toMatchObject({ problem: { detail: "busy" } });
      expect(seen).toEqual([
        { event: "token", data: { text: "à la" } },
        { event: "message", data: { n: 1 } },
      ]);
    }
  });
});
