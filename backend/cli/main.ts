// The command `headscope`. Only what --help needs is imported before a command is known.
import { run } from "./run.ts";
import { ENDS_WITH_PARENT } from "./second-signal.ts";

// Standard output is for results alone: what libraries print goes to standard error.
console.log = console.error;
console.info = console.error;

// A reader that has seen enough (`headscope … | head`) is no failure.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(process.exitCode ?? 0);
  });
}

if (process.env[ENDS_WITH_PARENT]) (await import("../jobs/parent.ts")).endWithParent();
delete process.env[ENDS_WITH_PARENT];

process.exitCode = await run(process.argv.slice(2));
