#!/usr/bin/env node
// The command `headscope`: the bundled CLI, or one line when it has not been built.
import { existsSync } from "node:fs";
import module from "node:module";

// since Node 22: a second start need not compile again
/** @type {{ enableCompileCache?: () => unknown }} */ (module).enableCompileCache?.();

const cli = new URL("../../dist/cli/main.js", import.meta.url);
if (existsSync(cli)) await import(cli.href);
else {
  console.error("headscope: not built yet; run npm start (sets everything up) or npm run build");
  process.exitCode = 1;
}
