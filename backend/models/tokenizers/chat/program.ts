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

function answer(): Rendered {
  try {
    return runInThisContext("headscopeRender()", { timeout: milliseconds }) as TemplateResult;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_SCRIPT_EXECUTION_TIMEOUT") return { late: true };
    throw error;
  }
}

process.stdout.write(JSON.stringify(answer()));
