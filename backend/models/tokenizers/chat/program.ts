import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";
import type { Rendered, RenderRequest } from "./process.ts";
import { runTemplate, type TemplateResult } from "./template.ts";

/**
 * The process that writes conversations (see `renderTemplate`): a request as JSON on standard input, the answer on standard output.
 * It ends by itself also where its parent has ended meanwhile, and leaves Ctrl-C to that.
 */
process.on("SIGINT", () => {});
const { template, variables, milliseconds } = JSON.parse(readFileSync(0, "utf8")) as RenderRequest;
const place = globalThis as unknown as { headscopeRender: () => TemplateResult };
place.headscopeRender = () => runTemplate(template, variables);

/** Milliseconds of processor time that this process has had. */
function used(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** The limit is processor time: on a busy machine, what the clock has cut off before it had that much begins anew, with longer to go. */
function answer(): Rendered {
  for (let clock = milliseconds; ; clock *= 2) {
    const before = used();
    try {
      return runInThisContext("headscopeRender()", { timeout: clock }) as TemplateResult;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
      if (used() - before >= 0.9 * milliseconds) return { late: true };
    }
  }
}

process.stdout.write(JSON.stringify(answer()));
