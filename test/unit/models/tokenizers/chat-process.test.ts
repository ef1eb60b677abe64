import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, expect, test } from "vitest";
import type { Rendered } from "../../../../backend/models/tokenizers/chat/process.ts";
import { builtFile } from "../../../../backend/paths.ts";
import { buildCli } from "../../../helpers/cli.ts";
import { patiently } from "../../../helpers/runner/patience.ts";

beforeAll(buildCli);

/** Says x, after some time of the processor's. */
const SLOW = "{% for i in range(250) %}{% for j in range(250) %}{% set y = i * j %}{% endfor %}{% endfor %}x";
const ENDLESS = SLOW.replaceAll("250", "10000");

/** Hundredths of a second of the processor's that a process has had; undefined once it has ended. */
function ticksOf(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return undefined;
  }
}

/** Renders a template in the process of its own. @param held stops it meanwhile for as long as it may take by the clock */
async function rendered(template: string, milliseconds: number, held: boolean) {
  const child = spawn(process.execPath, [builtFile("chat-template.js")!], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stdin.end(JSON.stringify({ template, variables: {}, milliseconds }));
  let ticks = 0;
  for (let now = ticksOf(child.pid!); now !== undefined && child.exitCode === null; now = ticksOf(child.pid!)) {
    ticks = Math.max(ticks, now);
    if (held && now > 25) {
      child.kill("SIGSTOP");
      await sleep(milliseconds + 500);
      child.kill("SIGCONT");
      held = false;
    }
    await sleep(5);
  }
  await ended;
  return { answer: JSON.parse(said) as Rendered, ticks, held };
}

test(
  "a template has its time of the processor, however long the machine is busy with others",
  async () => {
    const alone = await rendered(SLOW, 60_000, false);
    expect(alone.answer).toEqual({ text: "x" });
    expect(alone.ticks).toBeGreaterThan(30); // it is still at work when it is held
    const milliseconds = 20 * alone.ticks;
    expect(await rendered(SLOW, milliseconds, true)).toMatchObject({ answer: { text: "x" }, held: false });
    expect((await rendered(ENDLESS, 300, false)).answer).toEqual({ late: true });
  },
  patiently(120_000),
);
