import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { buildCli } from "../helpers/cli.ts";
import { havePulled } from "../helpers/smollm2.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

it.skipIf(!havePulled)("the README's script runs as it stands there", async () => {
  await buildCli();
  const script = /```js\n(import .*?from "headscope";.*?)```/s.exec(readFileSync(`${root}README.md`, "utf8"))?.[1];
  expect(script).toBeDefined();
  expect(script!.trim().split("\n").length).toBeLessThanOrEqual(12);
  // Inside the package, so that "headscope" resolves to it as it does for a user who installed it.
  const folder = mkdtempSync(`${root}test/.readme-`);
  try {
    writeFileSync(`${folder}/script.mjs`, script!);
    const out = execFileSync(process.execPath, [`${folder}/script.mjs`], { encoding: "utf8", cwd: folder });
    expect(out).toMatch(/18\.6/);
    expect(out).toMatch(/Paris/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
