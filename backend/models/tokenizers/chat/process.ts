import { spawnSync } from "node:child_process";
import { HeadscopeError } from "../../../common/errors.ts";
import { builtFile } from "../../../paths.ts";
import { LONGEST_CHAT, LONGEST_TEMPLATE, TEMPLATE_BYTES, TEMPLATE_MS } from "../../formats/budgets.ts";

/** Answer of the process: the text, or the reason why there is none. */
export type Rendered =
  | { readonly text: string }
  | { readonly refusal: string }
  | { readonly unknown: string }
  | { readonly late: true };

/** Request to the process. */
export interface RenderRequest {
  readonly template: string;
  readonly variables: Readonly<Record<string, unknown>>;
  /** Processor time that it may take. */
  readonly milliseconds: number;
}

/** Milliseconds of the clock after which the process is given up; it ends itself long before, however busy the machine. */
const GIVEN_UP_MS = 300_000;

/**
 * Writes a conversation by a Jinja template of the model. That is foreign code which may neither take long nor fill the memory,
 * so it runs in a process of its own, some 60 ms: a thread that fills its heap can end the whole process.
 * @throws HeadscopeError "input" when the template refuses the messages, "unsupported" when it uses what is not known here or takes
 * too much time or memory
 */
export function renderTemplate(template: string, variables: Readonly<Record<string, unknown>>): string {
  if (template.length > LONGEST_TEMPLATE)
    throw tooMuch(`has ${template.length} characters; ${LONGEST_TEMPLATE} are the most that are read`);
  const program = builtFile("chat-template.js");
  if (program === undefined)
    throw new HeadscopeError("missing", "what writes chat templates is not built", {
      remedy: "run npm start (sets everything up) or npm run build",
    });
  const heap = `--max-old-space-size=${TEMPLATE_BYTES / 2 ** 20}`;
  const { status, stdout, error } = spawnSync(process.execPath, [heap, program], {
    input: JSON.stringify({ template, variables, milliseconds: TEMPLATE_MS } satisfies RenderRequest),
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "" },
    stdio: ["pipe", "pipe", "ignore"],
    timeout: GIVEN_UP_MS,
    killSignal: "SIGKILL",
    maxBuffer: LONGEST_CHAT,
  });
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === "ENOBUFS") throw tooMuch(`makes more than ${LONGEST_CHAT} bytes of these messages`);
  if (error !== undefined && code !== "ETIMEDOUT" && code !== "EPIPE") throw error;
  // V8 ends a process whose heap is full.
  if (error === undefined && status !== 0)
    throw tooMuch(`takes more than ${TEMPLATE_BYTES / 2 ** 20} MiB for these messages`);
  const rendered: Rendered = (status === 0 ? answerOf(stdout) : undefined) ?? { late: true };
  if ("text" in rendered) return rendered.text;
  if ("late" in rendered) throw tooMuch(`takes more than ${TEMPLATE_MS / 1000} s for these messages`);
  if ("unknown" in rendered)
    throw new HeadscopeError("unsupported", `the chat template uses what is not known here: ${rendered.unknown}`, {
      remedy: "give the conversation as plain text",
    });
  throw new HeadscopeError("input", `the chat template refuses these messages: ${rendered.refusal}`, {
    remedy: "give a list of {role, content} that begins as the model expects",
  });
}

/** The answer of the process; undefined where it was cut off, as when the machine slept until its time was up. */
function answerOf(stdout: string): Rendered | undefined {
  try {
    return JSON.parse(stdout) as Rendered;
  } catch {
    return undefined;
  }
}

function tooMuch(what: string): HeadscopeError {
  return new HeadscopeError("unsupported", `the model's chat template ${what}`, {
    remedy: "give plain text or token ids instead of a chat",
  });
}
