import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildCli, spawnHeadscope } from "../../helpers/cli.ts";
import { fixture } from "../../helpers/fixtures.ts";
import { headscope } from "../../helpers/headscope.ts";
import { type HubServer, startHub } from "../../helpers/servers/hub-server.ts";

let hub: HubServer;
let home = "";

beforeAll(async () => {
  await buildCli();
  hub = await startHub({
    "tiny/llama": { folder: fixture("formats/llama-tiny") },
    "tiny/slow": { folder: fixture("families/qwen2") },
  });
  home = mkdtempSync(join(tmpdir(), "headscope-cli-hub-"));
});
afterAll(async () => {
  await hub.close();
  rmSync(home, { recursive: true, force: true });
});

const env = () => ({
  HF_HOME: home,
  HF_HUB_CACHE: "",
  HF_ENDPOINT: hub.endpoint,
  HF_TOKEN: "",
  HF_HUB_OFFLINE: "",
});
const run = (...args: string[]) => headscope(args, { env: env() });

test("a model of the hub is pulled, listed, used and removed by its reference", async () => {
  const before = await run("generate", "--model", "hf:tiny/llama", "--text", "The capital");
  expect(before).toMatchObject({ code: 1, stderr: expect.stringContaining("headscope models pull hf:tiny/llama") });

  const pulled = await run("models", "pull", "hf:tiny/llama", "--json");
  expect(pulled.json()).toMatchObject({ ref: "hf:tiny/llama", commit: hub.commit("tiny/llama"), revision: "main" });
  const listed = (await run("models", "list", "--json")).json<{ name: string }[]>();
  expect(listed.find(({ name }) => name === "hf:tiny/llama")).toMatchObject({ kind: "hub", ready: true });

  const args = ["--text", "The capital", "--max-tokens", "3", "--json"];
  const generated = await run("generate", "--model", "hf:tiny/llama", ...args);
  const byPath = await run("generate", "--model", fixture("formats/llama-tiny"), ...args);
  expect(generated.json()["ids"]).toEqual(byPath.json()["ids"]);

  expect(await run("models", "rm", "hf:tiny/llama")).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("removed"),
  });
  expect(existsSync(join(home, "hub", "models--tiny--llama"))).toBe(false);
});

test("an interrupted pull says so, and leaves no name", async () => {
  hub.faults.push({ path: /^\/cdn\//, stallAfter: 1000 });
  const stopped = await spawnHeadscope(["models", "pull", "hf:tiny/slow"], {
    env: env(),
    onSpawn: (child) => {
      const asked = setInterval(() => {
        if (!hub.requests.some(({ url }) => url.startsWith("/cdn/") && hub.faults[0]?.times === 0)) return;
        clearInterval(asked);
        child.kill("SIGINT");
      }, 20);
    },
  });
  expect(stopped.code).not.toBe(0);
  expect(stopped.stderr.trimEnd().split("\n").at(-1)).toMatch(/cancel|interrupt/);
  expect(existsSync(join(home, "hub", "models--tiny--slow", "snapshots"))).toBe(false);
  expect(readdirSync(join(home, "hub", ".locks", "models--tiny--slow"))).toEqual([]);
});
