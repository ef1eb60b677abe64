import { readFileSync } from "node:fs";
import { z } from "zod";
import { fileParameter } from "../../../backend/common/definitions/parameters.ts";
import { HeadscopeError } from "../../../backend/common/errors.ts";
import { contextTask } from "../base.ts";
import { largest } from "../draw.ts";

const parameters = z.object({
  text: fileParameter("text", "path of a text file in UTF-8"),
  scored: z.number().gt(0).lt(1).default(0.25).describe("share of the window that is scored, at its end"),
});

/**
 * Words of a text file, each with the space before it.
 * @throws HeadscopeError (missing) for a file that is not there, (input) for one that can't be read, is no UTF-8, or is empty
 */
function wordsOf(path: string): string[] {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (cause) {
    const unread = (cause as NodeJS.ErrnoException).code;
    throw new HeadscopeError(
      unread === "ENOENT" ? "missing" : "input",
      `perplexity: ${path} ${unread === undefined ? "is no text in UTF-8" : `can't be read (${unread})`}`,
      {
        remedy: "give a text file, as text=FILE",
        field: "text",
        subject: path,
        cause,
      },
    );
  }
  const words = text.trim().match(/\s*\S+/g);
  if (words === null)
    throw new HeadscopeError("input", `perplexity: ${path} is empty`, {
      remedy: "give a text",
      field: "text",
      subject: path,
    });
  return words;
}

/** Foresight of a text of the user's. */
export const perplexity = contextTask({
  name: "perplexity",
  title: "Perplexity of a text",
  description:
    "A window of a text file, another one for each case; the tokens of its last part are scored behind the rest, by loss and by the share of " +
    "them that are the likeliest. There is one question.",
  source: "Xiao et al. 2023, StreamingLLM (perplexity of long texts)",
  parameters,
  scoring: "text",
  answerTokens: () => 0,
  check({ text }) {
    wordsOf(text);
  },
  draw(room, { text, scored }) {
    const words = wordsOf(text);
    const start = room.random.integer(0, words.length);
    return largest(
      "perplexity",
      room,
      (length) => {
        // A window that would run out of the text moves back.
        const first = Math.min(start, words.length - length);
        const cut = first + Math.min(length - 1, Math.max(1, Math.round((1 - scored) * length)));
        const context = words.slice(first, cut).join("").trimStart();
        const rest = words.slice(cut, first + length).join("");
        return { context, questions: [{ question: "", answers: [rest], needles: [], chance: 0 }] };
      },
      { least: 2, most: words.length },
    );
  },
});
