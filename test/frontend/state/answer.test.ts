import { flushSync, mount, tick, unmount } from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError } from "../../../frontend/src/api/client.ts";
import { Answer, type Call } from "../../../frontend/src/state/answer.svelte.ts";
import { events } from "../../../frontend/src/state/events.svelte.ts";
import StateHost from "../../helpers/StateHost.svelte";

/** Requests by what they ask, each answered when the test says so. */
class Server {
  readonly calls: {
    readonly what: string;
    readonly call: Call<string>;
    answer(value: string): void;
    fail(error: unknown): void;
  }[] = [];
  readonly asking = (what: string) => (call: Call<string>) =>
    new Promise<string>((resolve, reject) => {
      // Deaf to being given up, as an answer is that was on its way already.
      this.calls.push({ what, call, answer: resolve, fail: reject });
    });
  last(what: string) {
    return this.calls.findLast((each) => each.what === what)!;
  }
}

const problem = (kind: string, status: number) => ({ type: "about:blank", title: "", status, detail: kind, kind });
const lost = () => new ApiError(problem("network", 0));

let server: Server;
let answer: Answer<string>;
beforeEach(() => {
  server = new Server();
  answer = new Answer<string>();
});
const follow = (what: string | undefined, options = {}) =>
  answer.follow(what, what === undefined ? undefined : server.asking(what), options);

describe("an answer", () => {
  it("is a value under its own question alone; under another one it is what was before", async () => {
    follow("a");
    server.last("a").answer("A");
    await tick();
    expect([answer.value, answer.before, answer.state]).toEqual(["A", undefined, "ready"]);
    follow("b");
    expect([answer.value, answer.before, answer.state]).toEqual([undefined, "A", "loading"]);
    server.last("b").answer("B");
    await tick();
    expect([answer.value, answer.before]).toEqual(["B", undefined]);
    follow(undefined);
    expect([answer.value, answer.before, answer.state]).toEqual([undefined, undefined, "empty"]);
  });

  it("gives up the request of an outdated question, and drops what still comes of it, parts included", async () => {
    follow("a");
    const old = server.last("a");
    follow("b");
    expect(old.call.signal.aborted).toBe(true);
    old.call.update("half of A");
    old.answer("A");
    await tick();
    expect([answer.value, answer.before, answer.state]).toEqual([undefined, undefined, "loading"]);
    server.last("b").call.update("half of B");
    expect(answer.value).toBe("half of B");
    server.last("b").answer("B");
    await tick();
    old.fail(lost());
    await tick();
    expect([answer.value, answer.state]).toEqual(["B", "ready"]);
  });

  it("of the same question is asked once, and a question that comes back has its answer still", async () => {
    follow("a");
    follow("a");
    expect(server.calls).toHaveLength(1);
    server.last("a").answer("A");
    await tick();
    follow("b");
    follow("a");
    expect([answer.value, answer.state, server.calls.length]).toEqual(["A", "ready", 2]);
  });

  it("knows the whole question, however deep it differs", async () => {
    answer.follow({ prompt: [1, 2], heads: ["1.0"] }, server.asking("a"));
    server.last("a").answer("A");
    await tick();
    answer.follow({ prompt: [1, 3], heads: ["1.0"] }, server.asking("b"));
    expect(answer.value).toBeUndefined();
  });

  it("that was given up says so, and can be asked again", async () => {
    follow("a");
    answer.cancel();
    expect([answer.state, server.last("a").call.signal.aborted]).toEqual(["cancelled", true]);
    follow("a");
    expect(answer.state).toBe("cancelled");
    answer.again();
    expect([answer.state, server.calls.length]).toEqual(["loading", 2]);
  });

  it("that would take long is asked for only after a yes, without a limit then", async () => {
    follow("a");
    expect(server.last("a").call.wait).toBeGreaterThan(0);
    server.last("a").fail(new ApiError({ ...problem("long", 428), estimate: { tokens: 5_000, seconds: 80 } }));
    await tick();
    expect([answer.state, answer.problem?.estimate?.seconds]).toEqual(["long", 80]);
    answer.again(true);
    expect(server.last("a").call.wait).toBeUndefined();
    follow("b");
    expect(server.last("b").call.wait).toBeGreaterThan(0);
  });

  it("that failed for want of a connection is asked again when it returns; any other failure stays", async () => {
    const listeners = vi.fn();
    const end = events.onReturn(listeners);
    follow("a");
    server.last("a").fail(lost());
    const other = new Answer<string>();
    other.follow("b", server.asking("b"));
    server.last("b").fail(new ApiError(problem("input", 422)));
    await tick();
    expect([answer.state, other.state]).toEqual(["failed", "failed"]);
    events.returned();
    expect(listeners).toHaveBeenCalledOnce();
    expect([answer.state, other.state]).toEqual(["loading", "failed"]);
    server.last("a").answer("A");
    await tick();
    expect(answer.value).toBe("A");
    end();
  });

  it("that is asked by hand waits for the hand, and an outdated one is given up all the same", async () => {
    follow("a", { byHand: true });
    expect([answer.state, server.calls.length]).toEqual(["due", 0]);
    answer.again();
    expect(answer.state).toBe("loading");
    follow("b", { byHand: true });
    expect([answer.state, server.last("a").call.signal.aborted, server.calls.length]).toEqual(["due", true, 1]);
  });

  it("that needs another one first says what has become of that one, and hands on what is asked of it", async () => {
    const text = new Answer<string>();
    text.follow("text", server.asking("text"));
    const own = (): void =>
      answer.follow("a", text.value === undefined ? undefined : server.asking("a"), { after: text });
    own();
    expect([answer.state, answer.id]).toEqual(["loading", text.id]);
    server.last("text").fail(new ApiError({ ...problem("long", 428), estimate: { tokens: 9, seconds: 60 } }));
    await tick();
    expect([answer.state, answer.problem?.kind]).toEqual(["long", "long"]);
    answer.again(true);
    server.last("text").answer("read");
    await tick();
    own();
    expect([answer.state, server.last("a").what]).toEqual(["loading", "a"]);
    server.last("a").answer("A");
    await tick();
    expect(answer.value).toBe("A");
  });

  it("to changes that follow each other fast is asked for once they pause", () => {
    vi.useFakeTimers();
    for (const what of ["a", "b", "c"]) follow(what, { pause: 100 });
    // The first after a rest is asked at once, and given up by the second.
    expect(server.calls.map(({ what }) => what)).toEqual(["a"]);
    expect(server.last("a").call.signal.aborted).toBe(true);
    vi.advanceTimersByTime(100);
    expect(server.calls.map(({ what }) => what)).toEqual(["a", "c"]);
    vi.useRealTimers();
  });
});

describe("what shows an answer", () => {
  let page: Record<string, unknown> | undefined;
  afterEach(() => {
    if (page) unmount(page);
    page = undefined;
    document.body.innerHTML = "";
  });
  const show = (): HTMLElement => {
    page ??= mount(StateHost, { target: document.body, props: { latest: answer, before: "of the text before" } });
    flushSync();
    return document.body;
  };

  it("dims and labels one to another question, out of reach, and no longer when its own is there", async () => {
    follow("a");
    server.last("a").answer("A");
    await tick();
    expect(show().querySelector("[data-stale]")).toBeNull();
    expect(show().textContent).toContain("value A");
    follow("b");
    const stale = show().querySelector("[data-stale]")!;
    expect(stale.textContent).toContain("of the text before");
    expect(stale.querySelector("[inert]")!.textContent).toContain("value A");
    server.last("b").answer("B");
    await tick();
    expect(show().querySelector("[data-stale]")).toBeNull();
    expect(show().textContent).not.toContain("value A");
  });

  it("asks before what takes long, with tokens and time", async () => {
    follow("a");
    server.last("a").fail(new ApiError({ ...problem("long", 428), estimate: { tokens: 5_000, seconds: 80 } }));
    await tick();
    expect(show().textContent).toContain("5,000 tokens");
    show().querySelector("button")!.click();
    expect([answer.state, server.calls.length]).toEqual(["loading", 2]);
  });
});
