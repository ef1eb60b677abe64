import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openWorkbench, removeEntryPage } from "../../../backend/cli/start/browser.ts";
import { serverToken, tokenFile } from "../../../backend/server/http/token.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "headscope-token-"));
  vi.stubEnv("HEADSCOPE_TOKEN", undefined);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});
const put = (content: string, mode = 0o600): void => {
  writeFileSync(tokenFile(folder), content);
  chmodSync(tokenFile(folder), mode);
};

describe("the token of a data folder", () => {
  test("is made for the user alone, whatever the umask, and stays", async () => {
    const before = process.umask(0);
    try {
      const token = await serverToken(folder);
      expect(Buffer.from(token, "base64url")).toHaveLength(32);
      expect(statSync(tokenFile(folder)).mode & 0o777).toBe(0o600);
      expect(await serverToken(folder)).toBe(token);
      expect(readdirSync(folder)).toEqual(["token"]);
    } finally {
      process.umask(before);
    }
  });

  test("is another in each folder, which is made with it", async () => {
    const [a, b] = await Promise.all(["a", "b/c"].map((name) => serverToken(join(folder, name))));
    expect(a).not.toBe(b);
  });

  test("is one for all servers that start at once", async () => {
    const tokens = await Promise.all(Array.from({ length: 20 }, () => serverToken(folder)));
    expect(new Set(tokens).size).toBe(1);
    expect(readdirSync(folder)).toEqual(["token"]);
  });

  test("may be one's own", async () => {
    put("  correct-horse-battery  \n");
    expect(await serverToken(folder)).toBe("correct-horse-battery");
  });

  test.each([0o644, 0o640, 0o660, 0o604, 0o602])("is refused where its file has the mode %o", async (mode) => {
    put("0123456789abcdef\n", mode);
    await expect(serverToken(folder)).rejects.toMatchObject({ kind: "input", remedy: expect.stringMatching(/remove/) });
  });

  test.each(["", "\n", "short", "with a space in it", "x".repeat(2_000), "zürich-zürich-zürich"])(
    "is refused where its file holds %j",
    async (content) => {
      put(content);
      const error = await serverToken(folder).catch((each: Error) => each);
      expect(error).toMatchObject({ kind: "input" });
      if (content.length > 3) expect(String((error as Error).message)).not.toContain(content);
    },
  );

  test("is not read through a link, from a folder or from a pipe, and nothing is written there", async () => {
    const elsewhere = join(folder, "elsewhere");
    writeFileSync(elsewhere, "0123456789abcdef\n", { mode: 0o600 });
    symlinkSync(elsewhere, tokenFile(folder));
    await expect(serverToken(folder)).rejects.toMatchObject({ kind: "input" });
    expect(lstatSync(tokenFile(folder)).isSymbolicLink()).toBe(true);
    rmSync(tokenFile(folder));

    symlinkSync(join(folder, "missing"), tokenFile(folder));
    await expect(serverToken(folder)).rejects.toMatchObject({ kind: "input" });
    expect(readdirSync(folder)).not.toContain("missing");
    rmSync(tokenFile(folder));

    mkdirSync(tokenFile(folder));
    await expect(serverToken(folder)).rejects.toMatchObject({ kind: "input" });
    rmSync(tokenFile(folder), { recursive: true });

    execFileSync("mkfifo", ["-m", "600", tokenFile(folder)]);
    await expect(serverToken(folder)).rejects.toMatchObject({ kind: "input" });
  });

  test.skipIf(process.getuid?.() !== 0)("is refused where its file belongs to another user", async () => {
    put("0123456789abcdef\n");
    execFileSync("chown", ["65534", tokenFile(folder)]);
    await expect(serverToken(folder)).rejects.toMatchObject({ kind: "input" });
  });

  test("that cannot be kept is an error that names the file", async () => {
    writeFileSync(join(folder, "file"), "");
    await expect(serverToken(join(folder, "file", "data"))).rejects.toMatchObject({ kind: "input" });
  });
});

describe("opening the browser", () => {
  const server = (token: string | undefined) => ({
    entry: `http://127.0.0.1:4747/${token === undefined ? "" : `?token=${token}`}`,
    token,
    port: 4747,
    context: { folder },
  });

  test("names a page that only this user can read, not the token, to the program that opens it", async () => {
    const token = await serverToken(folder);
    let opened = "";
    await openWorkbench(server(token), async (url) => {
      opened = url;
    });
    expect(opened).not.toContain(token);
    const path = fileURLToPath(opened);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, "utf8")).toContain(`url=http://127.0.0.1:4747/?token=${token}"`);
    await removeEntryPage(server(token));
    expect(readdirSync(folder)).toEqual(["token"]);
  });

  test("opens the address itself where there is no token", async () => {
    const opened: string[] = [];
    await openWorkbench(server(undefined), async (url) => opened.push(url));
    expect(opened).toEqual(["http://127.0.0.1:4747/"]);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("HEADSCOPE_TOKEN", () => {
  test("comes before the file, and none is made", async () => {
    vi.stubEnv("HEADSCOPE_TOKEN", "a-secret-of-some-length");
    expect(await serverToken(folder)).toBe("a-secret-of-some-length");
    expect(readdirSync(folder)).toEqual([]);
  });

  test("counts as not set where it is empty", async () => {
    vi.stubEnv("HEADSCOPE_TOKEN", "");
    expect(await serverToken(folder)).toHaveLength(43);
  });

  test.each(["short", "fifteen-letters", "sixteen letters!", "x".repeat(600), "ünlaut-ünlaut-ünlaut"])(
    "is refused as %j, and not quoted",
    async (token) => {
      vi.stubEnv("HEADSCOPE_TOKEN", token);
      const error = await serverToken(folder).catch((each: Error) => each);
      expect(error).toMatchObject({ kind: "usage" });
      expect(JSON.stringify([(error as Error).message, error])).not.toContain(token);
    },
  );
});
