import type { Scoring } from "../../backend/common/words.ts";
import type { Tokenizer } from "../../backend/models/tokenizers/tokenizer.ts";

/** Texts around the parts of a prompt, in the order in which they stand there. */
export interface Frame {
  /** Before the context. */
  readonly opening: string;
  /** Between the context and its question. */
  readonly asks: string;
  /** Between a question and its answer. */
  readonly answers: string;
  /** Between an answer and the next question. */
  readonly next: string;
  /** Stands before a lead. */
  readonly lead: "" | " ";
  /** Texts that end an answer, beside the model's own stops. */
  readonly stop: readonly string[];
  /** True where the tokenizer's own rule puts tokens before the opening, such as BOS; a chat template writes them itself. */
  readonly front: boolean;
}

/** Text that is scored stands as it is. */
const TEXT: Frame = { opening: "", asks: "", answers: "", next: "", lead: "", stop: [], front: true };

/** Questions in plain text, as a base model knows them. An answer ends with its line. */
const PLAIN: Frame = {
  opening: "",
  asks: "\n\nQuestion: ",
  answers: "\nAnswer:",
  next: "\n\nQuestion: ",
  lead: " ",
  stop: ["\n"],
  front: true,
};

/** Stand for the parts of a conversation: words that no template holds, and that none trims. */
const PARTS = ["[the-context]", "[the-first-question]", "[the-answer]", "[the-next-question]"] as const;

/** Between a context and its question in one message. */
const BLANK_LINE = "\n\n";

/** Frames of tokenizers that were asked: a chat template runs in a process of its own. */
const chats = new WeakMap<Tokenizer, Frame>();

/**
 * The frame of a tokenizer's prompts: the model's chat template where it has one, with context and question in one message of the
 * user; otherwise "Question:" and "Answer:" in plain text.
 * @throws HeadscopeError as `chat` does
 */
export function frameFor(tokenizer: Tokenizer, scoring: Scoring): Frame {
  if (scoring === "text") return TEXT;
  if (!tokenizer.chats) return PLAIN;
  const frame = chats.get(tokenizer) ?? chatFrame(tokenizer);
  chats.set(tokenizer, frame);
  return frame;
}

/** The frame that a chat template writes around a conversation of two questions. */
function chatFrame(tokenizer: Tokenizer): Frame {
  const [context, question, answer, next] = PARTS;
  const text = tokenizer.chat(
    [
      { role: "user", content: context + BLANK_LINE + question },
      { role: "assistant", content: answer },
      { role: "user", content: next },
    ],
    { addGenerationPrompt: true },
  );
  const between = (first: string, second: string): string =>
    text.slice(text.indexOf(first) + first.length, text.indexOf(second));
  return {
    opening: text.slice(0, text.indexOf(context)),
    asks: BLANK_LINE,
    // The opening of an answer that is still to come may differ from that of one which was given, as where a model thinks first.
    answers: text.slice(text.indexOf(next) + next.length),
    next: between(answer, next),
    lead: "",
    stop: [],
    front: false,
  };
}
