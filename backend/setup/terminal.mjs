// The one exit to the terminal. Names of tokens, tensors, files and models come from others, and a terminal obeys what they
// hold: everything that is shown goes through here, where control characters become visible. Nothing else writes to standard
// output or standard error (test/attacks/terminal.test.ts looks).
import { randomBytes } from "node:crypto";
import { format } from "node:util";

/**
 * Characters that a terminal or a reader's eye acts on instead of showing them: C0 but line feed and tab, DEL and C1 (escape sequences);
 * marks, embeddings, overrides and isolates of bidirectional text; separators of lines and paragraphs; halves of characters.
 */
const CONTROLS = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** @param {string} character a UTF-16 unit @returns {string} as source code would write it: \x1b, \u202e */
function escaped(character) {
  const code = character.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/**
 * A text in which every control character is visible, but for line feeds (also those of Windows) and tabs.
 * @param {string} text
 * @returns {string}
 */
export function printable(text) {
  return text.replaceAll("\r\n", "\n").replace(CONTROLS, escaped);
}

/**
 * A JSON text of the same value in which control characters are escaped that JSON lets stand as they are.
 * @param {string} json
 * @returns {string}
 */
export function printableJson(json) {
  return json.replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Sequences that headscope itself sends to a terminal. */
const SEQUENCES = { bold: "\x1b[1m", dim: "\x1b[2m", plain: "\x1b[22m", newLine: "\r\x1b[2K" };

/** Content cannot hold these marks: nobody outside knows the number, which is another in every process. */
const KEY = randomBytes(8).toString("hex");
const MARK = new RegExp(`\\[${KEY} (${Object.keys(SEQUENCES).join("|")})\\]`, "g");

/**
 * Stands in a text for one of headscope's own sequences, until the exit writes it.
 * @param {keyof typeof SEQUENCES} name `newLine` empties the line that the cursor is in
 */
export function mark(name) {
  return `[${KEY} ${name}]`;
}

/** A way out: standard output or standard error. */
export class Exit {
  /** @param {NodeJS.WriteStream} stream */
  constructor(stream) {
    /** For what draws on the terminal by itself, such as a progress bar: what it is given must be `printable`. */
    this.stream = stream;
  }

  /** @returns {boolean} whether people look at it */
  get isTTY() {
    return this.stream.isTTY === true;
  }

  /**
   * Writes a text for people.
   * @param {string} text
   * @returns {Promise<void>} when it is gone, so that a big text is whole when the process ends
   */
  write(text) {
    return this.#send(
      printable(text).replace(MARK, (_, name) => SEQUENCES[/** @type {keyof typeof SEQUENCES} */ (name)]),
    );
  }

  /** Writes a line for people. @param {string} text @returns {Promise<void>} */
  line(text) {
    return this.write(`${text}\n`);
  }

  /** Writes a JSON text, with a line feed behind it. @param {string} text @returns {Promise<void>} */
  json(text) {
    return this.#send(`${printableJson(text)}\n`);
  }

  /** @param {string} text @returns {Promise<void>} */
  #send(text) {
    return new Promise((resolve, reject) =>
      this.stream.write(text, (error) => (error && errorCode(error) !== "EPIPE" ? reject(error) : resolve())),
    );
  }
}

/** @param {Error} error @returns {unknown} */
function errorCode(error) {
  return /** @type {NodeJS.ErrnoException} */ (error).code;
}

export const output = new Exit(process.stdout);
export const problems = new Exit(process.stderr);

/**
 * Writes an error that nobody expected, with all that is known of it, to standard error.
 * @param {string} what was done
 * @param {unknown} error
 */
export function report(what, error) {
  void problems.line(format("%s", what, error));
}

/**
 * Makes the exits those of a program: results alone go to standard output, what libraries say through `console` goes to
 * standard error, and a reader that has seen enough (`headscope … | head`) is no failure.
 */
export function prepareTerminal() {
  for (const method of /** @type {const} */ (["log", "info", "debug", "warn", "error"]))
    console[method] = (...args) => void problems.line(format(...args));
  for (const { stream } of [output, problems])
    stream.on("error", (error) => {
      if (errorCode(error) !== "EPIPE") throw error;
      process.exit(process.exitCode ?? 0);
    });
}
