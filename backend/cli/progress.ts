import type { SingleBar } from "cli-progress";
import { type Exit, printable } from "../setup/terminal.mjs";

/**
 * Shows how far long work is. `done` and `total` are of one stage, named by `label`; a new label begins a new stage.
 * `note` stands behind it and may change with every call.
 */
export interface Progress {
  (done: number, total: number, label: string, note?: string): void;
  /** A line of its own, above the bar. */
  say(line: string): void;
  /** Takes the bar away. */
  end(): void;
}

/** Off a terminal a stage is told of when it has lasted this long, in milliseconds, and then again after as long. */
const PLAIN_INTERVAL = 5_000;

/**
 * Progress on a terminal as a bar that is taken away at the end, elsewhere as a few plain lines.
 * The bar's package is loaded with the first bar: most commands never need it.
 */
export async function createProgress(exit: Exit): Promise<Progress> {
  return exit.isTTY ? barProgress(exit) : plainProgress(exit);
}

async function barProgress(exit: Exit): Promise<Progress> {
  const { default: cliProgress } = await import("cli-progress");
  let bar: SingleBar | undefined;
  let stage: string | undefined;
  const end = () => {
    bar?.stop();
    bar = undefined;
    stage = undefined;
  };
  const show = (done: number, total: number, label: string, note = ""): void => {
    if (label !== stage) {
      end();
      bar = new cliProgress.SingleBar({
        format: "  {label} {bar} {percentage}%  {note}",
        barsize: 24,
        barCompleteChar: "█",
        barIncompleteChar: "░",
        hideCursor: true,
        clearOnComplete: true,
        stream: exit.stream,
      });
      bar.start(total, done, shown(label, note));
      stage = label;
    }
    bar?.setTotal(total);
    bar?.update(done, shown(label, note));
  };
  return Object.assign(show, {
    say(line: string) {
      end();
      void exit.line(line);
    },
    end,
  });
}

/** The bar draws by itself: what it is to show is made printable before. */
function shown(label: string, note: string): { label: string; note: string } {
  return { label: printable(label), note: printable(note) };
}

function plainProgress(exit: Exit): Progress {
  let stage: string | undefined;
  let last = 0;
  const show = (done: number, total: number, label: string, note = ""): void => {
    const now = performance.now();
    if (label !== stage) {
      stage = label;
      last = now;
    }
    if (now - last < PLAIN_INTERVAL) return;
    void exit.line(`  ${label}: ${Math.floor((100 * done) / Math.max(total, 1))} %${note && `  ${note}`}`);
    last = now;
  };
  return Object.assign(show, {
    say: (line: string) => void exit.line(line),
    end: () => {
      stage = undefined;
    },
  });
}
