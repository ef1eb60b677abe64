import type { QueueEntry } from "../../../backend/common/api/health.ts";
import { counted } from "../../../backend/common/text.ts";
import { get } from "../api/client.ts";
import { duration } from "../format.ts";
import { TAB } from "./answer.svelte.ts";

/** Milliseconds between looks at the server's queue, while somebody waits. */
const PERIOD = 1_000;

/** The work in words, by kind of request. */
const NOUNS: Readonly<Record<string, string>> = {
  prompt: "a text",
  patterns: "patterns",
  ablate: "an ablation",
  intervene: "an intervention",
  patch: "a patching",
  "patch-places": "a patching",
  "task-sample": "a sequence of a task",
  "run-reference": "a reference predictor",
  "ablate-each": "ablations in turn",
  attribute: "a direct attribution",
  lens: "a logit lens",
  circuit: "a search for a circuit",
  "circuit-run": "the run of a circuit",
  pairs: "a pair of prompts",
  generate: "a continuation",
  export: "an export",
  describe: "the opening of a model",
};

/** The queue of the server's worker; looked at while somebody waits. */
class ServerQueue {
  #entries = $state.raw<readonly QueueEntry[]>([]);
  #watchers = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Looks while it is watched; run in an effect. @returns ends that */
  watch(): () => void {
    this.#watchers++;
    this.#timer ??= setInterval(() => this.#look(), PERIOD);
    return () => {
      if (--this.#watchers > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
      this.#entries = [];
    };
  }

  /** Words for what a request waits for; "" while that is not known. @param id its name in the queue */
  reason(id: string): string {
    return reasonOf(this.#entries, id, TAB);
  }

  #look(): void {
    // It is only told why one waits: where it cannot be, the wait itself says enough.
    get<QueueEntry[]>("/api/queue").then(
      (entries) => {
        this.#entries = entries;
      },
      () => {},
    );
  }
}

/** Words for what a request waits for. @param tab beginning of the names of one's own requests */
export function reasonOf(entries: readonly QueueEntry[], id: string, tab: string): string {
  const own = entries.find((entry) => entry.id === id);
  if (own === undefined) return "";
  if (own.state === "computing") return progressWords(own);
  const before = entries.slice(0, entries.indexOf(own)).filter(({ lane }) => lane === own.lane);
  const [first] = before;
  if (first === undefined) return "";
  const where = first.id?.startsWith(`${tab}.`) ? "" : " in another tab";
  const place = before.length > 1 ? `, number ${before.length} in the line` : "";
  return `behind ${nameOf(first)}${where}${left(first)}${place}`;
}

function nameOf({ kind, tokens }: QueueEntry): string {
  const noun = NOUNS[kind] ?? kind;
  return tokens === undefined ? noun : `${noun} of ${counted(tokens, "token")}`;
}

function progressWords(entry: QueueEntry): string {
  const { progress, tokens } = entry;
  const share = progress && progress.total > 0 ? `${Math.floor((100 * progress.done) / progress.total)}%` : "";
  const words = [tokens === undefined ? "" : counted(tokens, "token"), share].filter((word) => word !== "");
  return `${words.join(", ")}${left(entry)}`;
}

/** Time that one takes yet: by how far it is, else by the estimate. */
function left({ seconds, ms = 0, progress }: QueueEntry): string {
  const share = progress && progress.total > 0 ? progress.done / progress.total : 0;
  const rest = share > 0.1 ? (ms * (1 - share)) / share : seconds === undefined ? undefined : 1_000 * seconds - ms;
  return rest === undefined || rest < 1_000 ? "" : `, about ${duration(rest)} left`;
}

export const queue = new ServerQueue();
