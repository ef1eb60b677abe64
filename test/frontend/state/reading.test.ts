import { describe, expect, it, vi } from "vitest";
import { ApiError } from "../../../frontend/src/api/client.ts";
import { type Ask, Reading } from "../../../frontend/src/state/answer.svelte.ts";

/** A request whose answer the test gives. */
function pending<T>(): {
  ask: Ask<T>;
  answer: (value: T) => void;
  signal: () => AbortSignal;
} {
  let answer!: (value: T) => void;
  let seen!: AbortSignal;
  const promise = new Promise<T>((resolve) => {
    answer = resolve;
  });
  const ask: Ask<T> = ({ signal }) => {
    seen = signal;
    const gone = new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(new DOMException("given up", "AbortError"))),
    );
    return Promise.race([promise, gone]);
  };
  return { ask, answer, signal: () => seen };
}

const problem = { type: "about:blank", title: "Not found", status: 404, detail: "no such model", kind: "input" };

/** A reading that asks what it is given each time. */
function reading<T>() {
  let next!: Ask<T>;
  const latest = new Reading<T>((call) => next(call));
  const ask = (own: Ask<T>) => {
    next = own;
    return latest.read();
  };
  return { latest, ask };
}

describe("a reading", () => {
  it("drops the answer of a request that a later one has replaced, and gives that request up", async () => {
    const { latest, ask } = reading<string>();
    const [slow, quick] = [pending<string>(), pending<string>()];
    const first = ask(slow.ask);
    const second = ask(quick.ask);
    expect(slow.signal().aborted).toBe(true);
    quick.answer("new");
    await second;
    slow.answer("old");
    await first;
    expect(latest).toMatchObject({ state: "ready", value: "new" });
  });

  it("keeps the last value while the next is awaited, refused or given up", async () => {
    const { latest, ask } = reading<number>();
    await ask(() => Promise.resolve(1));
    const next = pending<number>();
    const asked = ask(next.ask);
    expect(latest).toMatchObject({ state: "loading", value: 1 });
    latest.cancel();
    await asked;
    expect(latest).toMatchObject({ state: "cancelled", value: 1 });
    await ask(() => Promise.reject(new ApiError(problem)));
    expect(latest).toMatchObject({ state: "failed", problem, value: 1 });
    latest.clear();
    expect(latest.state).toBe("empty");
    expect(latest.value).toBeUndefined();
  });

  it("shows parts of an answer on the way, of the latest request only", async () => {
    const { latest, ask } = reading<string>();
    let late!: (value: string) => void;
    const first = ask(async ({ signal, update }) => {
      late = update;
      update("one");
      return new Promise<string>((_, reject) =>
        signal.addEventListener("abort", () => reject(new DOMException("", "AbortError"))),
      );
    });
    expect(latest).toMatchObject({ state: "loading", value: "one" });
    await ask(() => Promise.resolve("two"));
    late("stale");
    await first;
    expect(latest).toMatchObject({ state: "ready", value: "two" });
  });

  it("names a defect instead of waiting for ever", async () => {
    const complaint = vi.spyOn(console, "error").mockImplementation(() => {});
    const { latest, ask } = reading<string>();
    await ask(() => Promise.reject(new TypeError("x is not a function")));
    expect(latest.problem).toMatchObject({ kind: "defect", detail: "x is not a function" });
    expect(complaint).toHaveBeenCalledOnce();
    complaint.mockRestore();
  });

  it("takes news of what it holds, and none before there is a value", async () => {
    const { latest, ask } = reading<number[]>();
    latest.change((list) => [...list, 1]);
    expect(latest.value).toBeUndefined();
    await ask(() => Promise.resolve([0]));
    latest.change((list) => [...list, 1]);
    expect(latest).toMatchObject({ state: "ready", value: [0, 1] });
  });
});
