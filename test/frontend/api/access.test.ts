import { flushSync, mount, unmount } from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { access } from "../../../frontend/src/api/access.svelte.ts";
import { ApiError, get, isToken, tokenIn } from "../../../frontend/src/api/client.ts";
import Locked from "../../../frontend/src/shell/Locked.svelte";

const TOKEN = "the-token-of-this-server";
let close: (() => void) | undefined;

beforeEach(() => {
  access.refused = false;
  vi.stubGlobal("fetch", async (_: string, { headers }: { headers?: Record<string, string> } = {}) =>
    headers?.["authorization"] === `Bearer ${TOKEN}`
      ? Response.json({})
      : Response.json({ status: 401, detail: "this server needs its token", kind: "forbidden" }, { status: 401 }),
  );
});
afterEach(() => {
  close?.();
  close = undefined;
  vi.unstubAllGlobals();
});

describe("a server that asks for its token", () => {
  it("is noticed by whatever request comes first; other refusals are not taken for it", async () => {
    await expect(get("/api/runs")).rejects.toBeInstanceOf(ApiError);
    expect(access.refused).toBe(true);
    access.refused = false;
    vi.stubGlobal("fetch", async () =>
      Response.json({ status: 403, detail: "no", kind: "forbidden" }, { status: 403 }),
    );
    await expect(get("/api/runs")).rejects.toBeInstanceOf(ApiError);
    expect(access.refused).toBe(false);
  });

  it("knows its token; a text that no header carries is none", async () => {
    expect(await isToken(TOKEN)).toBe(true);
    for (const wrong of ["another-token", "", "zürich", "two words", "line\nfeed"])
      expect(await isToken(wrong)).toBe(false);
  });
});

it("a token is pasted alone or in the address that headscope printed", () => {
  for (const pasted of [
    TOKEN,
    ` ${TOKEN}\n`,
    `http://127.0.0.1:4747/?token=${TOKEN}`,
    `http://localhost:1/heads?a=b&token=${TOKEN}`,
  ])
    expect(tokenIn(pasted)).toBe(TOKEN);
  expect(tokenIn("http://127.0.0.1:4747/?token=a%2Bb")).toBe("a+b");
});

describe("the page that asks for the token", () => {
  const gone: string[] = [];
  function show(): { input: HTMLInputElement; form: HTMLFormElement; text: () => string } {
    gone.length = 0;
    const target = document.createElement("div");
    document.body.append(target);
    const shown = mount(Locked, { target, props: { go: (address: string) => gone.push(address) } });
    flushSync();
    close = () => {
      void unmount(shown);
      target.remove();
    };
    return {
      input: target.querySelector("input")!,
      form: target.querySelector("form")!,
      text: () => target.textContent ?? "",
    };
  }
  const paste = ({ input, form }: ReturnType<typeof show>, text: string): void => {
    input.value = text;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    flushSync();
    form.dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
  };

  it("goes to the same view with the token", async () => {
    history.replaceState(null, "", "/heads?model=a");
    paste(show(), `http://127.0.0.1:4747/?token=${TOKEN}`);
    await vi.waitFor(() => expect(gone).toHaveLength(1));
    const { pathname, search } = new URL(gone[0]!);
    expect(pathname + search).toBe(`/heads?model=a&token=${TOKEN}`);
  });

  it("says that a token is another server's, and that the server does not answer, and goes nowhere", async () => {
    const page = show();
    paste(page, "of-another-server");
    await vi.waitFor(() => expect(page.text()).toContain("another token"));
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    paste(page, TOKEN);
    await vi.waitFor(() => expect(page.text()).toContain("does not answer"));
    expect(gone).toEqual([]);
  });
});
