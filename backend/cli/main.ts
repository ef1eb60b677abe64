// The command `headscope`. Only what --help needs is imported before a command is known.
import { prepareTerminal } from "../setup/terminal.mjs";
import { run } from "./run.ts";
import { ENDS_WITH_PARENT } from "./second-signal.ts";

prepareTerminal();

if (process.env[ENDS_WITH_PARENT]) (await import("../jobs/parent.ts")).endWithParent();
delete process.env[ENDS_WITH_PARENT];

process.exitCode = await run(process.argv.slice(2));
