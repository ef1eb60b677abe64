import { describe, expect, it, vi } from "vitest";
import { ApiError, get, stream } from "../../../frontend/src/api/client.ts";
import { Latest } from "../../../frontend/src/api/latest.svelte.ts";

/** A request whose answer the test gives. */
function pending<T>(): {
  ask: (signal: AbortSignal) => Promise<T>;
  answer: (value: T) => void;
  signal: () => AbortSignal;
} {
  let answer!: (value: T) => void;
  let seen!: AbortSignal;
  const promise = new Promise<T>((resolve) => {
    answer = resolve;
  });
  const ask = (signal: AbortSignal): Promise<T> => {
    seen = signal;
    const gone = new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(new DOMException("given up", "AbortError"))),
    );
    return Promise.race([promise, gone]);
  };
  return { ask, answer, signal: () => seen };
}

const problem = { type: "about:blank", title: "Not found", status: 404, detail: "no such model", kind: "input" };

describe("Latest", () => {
  it("drops the answer of a request that a later one has replaced, and gives that request up", async () => {
    const latest = new Latest<string>();
    const [slow, quick] = [pending<string>(), pending<string>()];
    const first = latest.ask(slow.ask);
    const second = latest.ask(quick.ask);
    expect(slow.signal().aborted).toBe(true);
    quick.answer("new");
    await second;
    slow.answer("old");
    await first;
    expect(latest.outcome).toEqual({ state: "ready", value: "new" });
  });

  it("keeps the last value while the next is awaited, refused or given up", async () => {
    const latest = new Latest<number>();
    await latest.ask(() => Promise.resolve(1));
    const next = pending<number>();
    const asked = latest.ask(next.ask);
    expect(latest.outcome).toEqual({ state: "loading", value: 1 });
    latest.cancel();
    await asked;
    expect(latest.outcome).toEqual({ state: "cancelled", value: 1 });
    await latest.ask(() => Promise.reject(new ApiError(problem)));
    expect(latest.outcome).toEqual({ state: "failed", problem, value: 1 });
    latest.clear();
    expect(latest.outcome).toEqual({ state: "empty" });
    expect(latest.value).toBeUndefined();
  });

  it("shows parts of an answer on the way, of the latest request only", async () => {
    const latest = new Latest<string>();
    let late!: (value: string) => void;
    const first = latest.ask(async (signal, update) => {
      late = update;
      update("one");
      return new Promise<string>((_, reject) =>
        signal.addEventListener("abort", () => reject(new DOMException("", "AbortError"))),
      );
    });
    expect(latest.outcome).toEqual({ state: "loading", value: "one" });
    await latest.ask(() => Promise.resolve("two"));
    late("stale");
    await first;
    expect(latest.outcome).toEqual({ state: "ready", value: "two" });
  });

  it("names a defect instead of waiting for ever", async () => {
    const complaint = vi.spyOn(console, "error").mockImplementation(() => {});
    const latest = new Latest<string>();
    await latest.ask(() => Promise.reject(new TypeError("x is not a function")));
    expect(latest.problem).toMatchObject({ kind: "defect", detail: "x is not a function" });
    expect(complaint).toHaveBeenCalledOnce();
    complaint.mockRestore();
  });

  it("takes news of what it holds, and none before there is a value", async () => {
    const latest = new Latest<number[]>();
    latest.change((list) => [...list, 1]);
    expect(latest.outcome).toEqual({ state: "empty" });
    await latest.ask(() => Promise.resolve([0]));
    latest.change((list) => [...list, 1]);
    expect(latest.outcome).toEqual({ state: "ready", value: [0, 1] });
  });
});

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
