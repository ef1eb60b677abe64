import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildCli, spawnHeadscope } from "../helpers/cli.ts";
import { type Serving, startServing } from "../helpers/servers/serving.ts";

const home = mkdtempSync(join(tmpdir(), "headscope-serve-"));
const env = { HEADSCOPE_HOME: home };
beforeAll(buildCli);
afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Processes that a process has started, as /proc tells. */
function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid;
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number);
}

describe("headscope serve", () => {
  let serving: Serving;
  beforeAll(async () => {
    serving = await startServing(home);
    await fetch(`${serving.url}/api/models/toy-induction`, { headers: serving.credentials });
  });
  afterAll(() => serving.stop());

  test("prints its address, and answers there", async () => {
    expect(serving.output()).toContain(`headscope is at ${serving.url}/`);
    const health = await fetch(`${serving.url}/api/health`, { headers: serving.credentials });
    expect(await health.json()).toMatchObject({ folder: home });
  });

  test("prints its token once, in the address to open, and `headscope token` prints the same", async () => {
    const token = new URL(serving.entry).searchParams.get("token")!;
    expect(serving.output().split(token)).toHaveLength(2);
    expect((await fetch(`${serving.url}/api/health`)).status).toBe(401);
    const { code, stdout } = await spawnHeadscope(["token"], { env });
    expect([code, stdout]).toEqual([0, `${token}\n`]);
    expect(readFileSync(join(home, "token"), "utf8").trim()).toBe(token);
  });

  test("with --no-token lets every process in, says so, and does so on this machine alone", async () => {
    const open = await startServing(home, ["--no-token"]);
    expect(open.entry).toBe(`${open.url}/`);
    expect((await fetch(`${open.url}/api/health`)).status).toBe(200);
    expect(await open.stop()).toBe(0);
    expect(open.output()).toMatch(/every user and process of this machine/);
    for (const command of ["serve", "start"]) {
      const args = [command, "--no-token", "--host", "0.0.0.0", "--port", "0"];
      expect((await spawnHeadscope(args, { env: { ...env, HEADSCOPE_TOKEN: "0123456789abcdef" } })).code).toBe(2);
    }
  });

  test.skipIf(!existsSync("/proc/self/maps"))("computes nothing itself: TensorFlow is in its workers alone", () => {
    const libraries = (pid: number) => readFileSync(`/proc/${pid}/maps`, "utf8");
    expect(libraries(serving.process.pid!)).not.toMatch(/tensorflow|tfjs/);
    expect(childrenOf(serving.process.pid!)).not.toEqual([]);
  });

  test("names a port in use and the remedy, before a main job too", async () => {
    const port = new URL(serving.url).port;
    for (const command of ["serve", "start"]) {
      const { code, stdout, stderr } = await spawnHeadscope([command, "--port", port], { env });
      expect([code, stdout]).toEqual([1, ""]);
      expect(stderr).toBe(
        `headscope: port ${port} of 127.0.0.1 is in use; end what uses it, or choose another: --port ${Number(port) + 1}\n`,
      );
    }
  });

  test("refuses a host that others reach without a token, and a port that is none", async () => {
    const open = await spawnHeadscope(["serve", "--host", "0.0.0.0", "--port", "0"], {
      env: { ...env, HEADSCOPE_TOKEN: undefined },
    });
    expect([open.code, open.stderr]).toEqual([2, expect.stringContaining("HEADSCOPE_TOKEN is not set")]);
    expect((await spawnHeadscope(["serve", "--port", "70000"], { env })).code).toBe(2);
  });

  test("Ctrl-C ends it with all that it started", async () => {
    const other = await startServing(home);
    await fetch(`${other.url}/api/models/toy-induction`, { headers: other.credentials });
    const started = childrenOf(other.process.pid!);
    expect(await other.stop()).toBe(0);
    for (const pid of started) expect(existsSync(`/proc/${pid}`), `process ${pid}`).toBe(false);
    await expect(fetch(other.url)).rejects.toThrow();
  });
});

test("with --json the address is the one document on standard output", async () => {
  const { code, stdout } = await spawnHeadscope(["serve", "--port", "0", "--json"], {
    env,
    onSpawn: (child) => child.stdout!.once("data", () => child.kill("SIGTERM")),
  });
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ host: "127.0.0.1", folder: home, url: expect.stringMatching(/^http:/) });
});
