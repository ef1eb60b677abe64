// A parent of a worker that has no file descriptor to spare for it, and then has: crowded-script.mjs HANDLERS, under a low ulimit -n
import { closeSync, openSync } from "node:fs";
import { HeadscopeError } from "../../../../backend/common/errors.ts";
import { Worker } from "../../../../backend/jobs/client.ts";

const [, , handlers] = process.argv;
const worker = new Worker({ handlers: handlers! });
const held: number[] = [];
try {
  for (;;) held.push(openSync("/dev/null", "r"));
} catch {
  // None is left.
}
const refused: unknown = await worker.request("echo", 1).catch((error: unknown) => error);
await new Promise((resolve) => setTimeout(resolve, 50));
for (const each of held) closeSync(each);
console.log(
  JSON.stringify({
    kind: refused instanceof HeadscopeError ? refused.kind : String(refused),
    next: await worker.request("echo", 2),
  }),
);
await worker.close();
