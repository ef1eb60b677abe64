import { CLASSES, property } from "./unicode.ts";

/** Longest pattern in characters; those of the families have a few hundred. */
const LONGEST = 4096;
/** Groups and classes within one another. */
const DEEPEST = 32;

const ESCAPES: Readonly<Record<string, string>> = {
  t: "\t",
  n: "\n",
  r: "\r",
  f: "\f",
  v: "\v",
  a: "\x07",
  e: "\x1b",
};
const HEX = "[0-9A-Fa-f]";
const SETS: Readonly<Record<string, string>> = {
  d: CLASSES.digit,
  D: `[^${CLASSES.digit}]`,
  s: `[${CLASSES.space}]`,
  S: `[^${CLASSES.space}]`,
  h: HEX,
  H: `[^${HEX}]`,
};
const W = CLASSES.wordAlone;
const ANCHORS: Readonly<Record<string, string>> = {
  A: "(?<![^])",
  z: "(?![^])",
  Z: "(?=\\n?(?![^]))",
  b: `(?:(?<!${W})(?=${W})|(?<=${W})(?!${W}))`,
  B: `(?:(?<!${W})(?!${W})|(?<=${W})(?=${W}))`,
};
/** A line begins at the text's start and behind a line feed that something follows; it ends before every line feed. */
const LINE = { "^": "(?:(?<![^])|(?<=\\n)(?=[^]))", $: "(?=\\n|(?![^]))" } as const;
const POSIX: Readonly<Record<string, string>> = {
  alpha: property("alphabetic")!,
  digit: CLASSES.digit,
  space: CLASSES.space,
  xdigit: HEX,
  word: CLASSES.word,
};
/** Letters whose case folds reach beyond ASCII, and pairs that fold to one character. */
const FOLDS: Readonly<Record<string, string>> = { s: "sS\u017f", k: "kK\u212a" };
const FOLDED_PAIR = /ss|st|ff|fi|fl/i;

/** A pattern of Oniguruma's that has no translation; the message names the part. */
export class UnknownPattern extends Error {}

/**
 * Translates a regular expression of Oniguruma (Ruby's syntax, as Rust's tokenizers compile it) into JavaScript's.
 * Taken are alternatives, groups, look-around, atomic groups, greedy, lazy and possessive quantifiers, classes with their
 * unions and intersections, properties of Unicode, the anchors of lines and texts, and ASCII letters without case.
 * @returns an expression with the flags g and v
 * @throws UnknownPattern for everything else
 */
export function translate(pattern: string): RegExp {
  if (pattern.length > LONGEST)
    throw new UnknownPattern(`it has ${pattern.length} characters, ${LONGEST} are the most`);
  const source = new Translation(pattern).whole();
  try {
    return new RegExp(source, "gv");
  } catch (cause) {
    throw new UnknownPattern("JavaScript cannot express it", { cause });
  }
}

interface Context {
  /** Letters match without case. */
  readonly fold: boolean;
  /** Inside of a look-behind, where JavaScript matches backwards. */
  readonly behind: boolean;
  readonly depth: number;
}

class Translation {
  readonly #pattern: string;
  #at = 0;
  #atoms = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  whole(): string {
    const fold = this.#take("(?i)");
    const source = this.#alternatives({ fold, behind: false, depth: 0 });
    if (this.#at < this.#pattern.length) throw this.#unknown(")");
    return source;
  }

  #alternatives(context: Context): string {
    if (context.depth > DEEPEST) throw new UnknownPattern(`groups are nested more than ${DEEPEST} deep`);
    const parts = [this.#sequence(context)];
    while (this.#take("|")) parts.push(this.#sequence(context));
    return parts.join("|");
  }

  #sequence(context: Context): string {
    let source = "";
    let letters = "";
    while (this.#at < this.#pattern.length && !/[|)]/.test(this.#pattern[this.#at]!)) {
      const start = this.#at;
      const { atom, fixed } = this.#atom(context);
      if (context.fold) {
        // "ss" without case is ß as well: one character for two.
        letters = (letters + this.#pattern.slice(start, this.#at)).slice(-2);
        if (FOLDED_PAIR.test(letters)) throw this.#unknown(letters, "without case");
      }
      source += this.#quantified(atom, fixed, context);
    }
    return source;
  }

  #quantified(atom: string, fixed: boolean, context: Context): string {
    const braces = /^\{(?:(\d+)(,?)(\d*)|,(\d+))\}/.exec(this.#pattern.slice(this.#at, this.#at + 20));
    const sign = braces?.[0] ?? (/[*+?]/.test(this.#pattern[this.#at] ?? "") ? this.#pattern[this.#at]! : "");
    if (sign === "") return atom;
    if (fixed) throw this.#unknown(sign, "behind what matches no character");
    this.#at += sign.length;
    const counts = braces?.[4] === undefined ? sign : `{0,${braces[4]}}`;
    const plain = `(?:${atom})${counts}`;
    if (this.#take("?")) {
      // Ruby reads a{2}? as (?:a{2})?
      if (braces && braces[2] === "" && braces[4] === undefined) throw this.#unknown(`${sign}?`);
      return this.#once(`${plain}?`);
    }
    if (!this.#take("+")) return this.#once(plain);
    // Behind braces a plus is no possessive in Ruby's syntax, but a quantifier of its own.
    return this.#once(braces ? `(?:${plain})+` : this.#atomic(plain, context));
  }

  /** A second quantifier behind the first means other things in the two languages. */
  #once(source: string): string {
    const next = this.#pattern[this.#at] ?? "";
    if (/[*+?]/.test(next)) throw this.#unknown(next, "behind a quantifier");
    return source;
  }

  #atomic(source: string, { behind }: Context): string {
    if (behind) throw new UnknownPattern("it has an atomic group inside of a look-behind");
    const name = `a${this.#atoms++}`;
    return `(?:(?=(?<${name}>${source}))\\k<${name}>)`;
  }

  /** `fixed` for what matches no character, which takes no quantifier. */
  #atom(context: Context): { atom: string; fixed: boolean } {
    const char = this.#next();
    if (char === "\\") return this.#escape(context);
    if (char === "[") return { atom: this.#class(context), fixed: false };
    if (char === "(") return this.#group(context);
    if (char === ".") return { atom: "[^\\n]", fixed: false };
    if (char === "^" || char === "$") return { atom: LINE[char], fixed: true };
    if (/[*+?]/.test(char)) throw this.#unknown(char);
    return { atom: literal(char, context.fold), fixed: false };
  }

  #group(context: Context): { atom: string; fixed: boolean } {
    const within = { ...context, depth: context.depth + 1 };
    const opening = /^\?(?:i:|<?[=!]|[:>]|<[A-Za-z_]\w*>)/.exec(this.#pattern.slice(this.#at, this.#at + 64))?.[0];
    if (opening === undefined && this.#pattern[this.#at] === "?")
      throw this.#unknown(`(${this.#pattern.slice(this.#at, this.#at + 3)}`);
    this.#at += opening?.length ?? 0;
    const look = opening !== undefined && /^\?<?[=!]$/.test(opening);
    const behind = context.behind || (look && opening[1] === "<");
    const source = this.#alternatives({ ...within, behind, fold: context.fold || opening === "?i:" });
    if (!this.#take(")")) throw new UnknownPattern("a group is not closed");
    if (opening === "?>") return { atom: this.#atomic(source, context), fixed: false };
    return { atom: look ? `(${opening}${source})` : `(?:${source})`, fixed: look };
  }

  #escape(context: Context): { atom: string; fixed: boolean } {
    const start = this.#at;
    const set = this.#set();
    if (set !== undefined) {
      if (
        context.fold &&
        /^[pP]/.test(this.#pattern.slice(start)) &&
        !/^.\{(?:L|N|M|P|S|Z)\}/.test(this.#pattern.slice(start))
      )
        throw this.#unknown(this.#pattern.slice(start - 1, this.#at), "without case");
      return { atom: set, fixed: false };
    }
    const char = this.#pattern[this.#at] ?? "";
    if (char === "w" || char === "W") {
      this.#at++;
      return { atom: char === "w" ? W : `[^${W}]`, fixed: false };
    }
    if (Object.hasOwn(ANCHORS, char)) {
      this.#at++;
      return { atom: ANCHORS[char]!, fixed: true };
    }
    return { atom: literal(this.#character(), context.fold), fixed: false };
  }

  /** A set that an escape stands for, both in classes and outside: \d, \s, \h, \p{…}. */
  #set(): string | undefined {
    const char = this.#pattern[this.#at] ?? "";
    if (Object.hasOwn(SETS, char)) {
      this.#at++;
      return SETS[char];
    }
    if (char !== "p" && char !== "P") return undefined;
    const [whole, not, name] = /^[pP]\{(\^?)([\w -]+)\}/.exec(this.#pattern.slice(this.#at, this.#at + 64)) ?? [];
    const members = name === undefined ? undefined : property(name);
    if (members === undefined) throw this.#unknown(`\\${whole ?? char}`);
    this.#at += whole!.length;
    return (not === "^") !== (char === "P") ? `[^${members}]` : members;
  }

  /** A character that an escape stands for; `#at` is behind the backslash. */
  #character(): string {
    const rest = this.#pattern.slice(this.#at, this.#at + 12);
    const code = /^(?:x\{([0-9A-Fa-f]{1,8})\}|x([0-7][0-9A-Fa-f])|u([0-9A-Fa-f]{4}))/.exec(rest);
    if (code) {
      this.#at += code[0].length;
      const point = Number.parseInt(code[1] ?? code[2] ?? code[3]!, 16);
      if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) throw this.#unknown(`\\${code[0]}`);
      return String.fromCodePoint(point);
    }
    const char = this.#next();
    if (Object.hasOwn(ESCAPES, char)) return ESCAPES[char]!;
    if (/[A-Za-z0-9]/.test(char)) throw this.#unknown(`\\${char}`);
    return char;
  }

  /** A class; its opening bracket is taken. */
  #class(context: Context): string {
    if (context.depth > DEEPEST) throw new UnknownPattern(`classes are nested more than ${DEEPEST} deep`);
    const negated = this.#take("^");
    const operands: string[] = [];
    let members = "";
    for (let first = true; ; first = false) {
      if (this.#at >= this.#pattern.length) throw new UnknownPattern("a class is not closed");
      if (!first && this.#take("]")) break;
      if (this.#take("&&")) {
        operands.push(members);
        members = "";
      } else members += this.#members(context);
    }
    operands.push(members);
    if (operands.includes("")) throw new UnknownPattern("a class is empty");
    const inner = operands.length === 1 ? members : operands.map((operand) => `[${operand}]`).join("&&");
    return `[${negated ? "^" : ""}${inner}]`;
  }

  /** The next part of a class: a set, another class, a range or a character. */
  #members(context: Context): string {
    const posix = /^\[:(\^?)(\w+):\]/.exec(this.#pattern.slice(this.#at, this.#at + 20));
    if (posix) {
      if (!Object.hasOwn(POSIX, posix[2]!) || context.fold) throw this.#unknown(posix[0]);
      this.#at += posix[0].length;
      return `[${posix[1]}${POSIX[posix[2]!]}]`;
    }
    if (this.#take("[")) {
      if (context.fold) throw this.#unknown("[", "in a class without case");
      return this.#class({ ...context, depth: context.depth + 1 });
    }
    const low = this.#member();
    if (low.set !== undefined) {
      if (/^-[^\]]/.test(this.#pattern.slice(this.#at, this.#at + 2))) throw this.#unknown("-", "behind a set");
      return low.set;
    }
    if (!/^-[^\]]/.test(this.#pattern.slice(this.#at, this.#at + 2))) return inClass(low.char!, context.fold);
    this.#at++;
    const high = this.#member();
    if (high.char === undefined || low.char === "-" || context.fold) throw this.#unknown("-", "in this class");
    return `${escaped(low.char!)}-${escaped(high.char)}`;
  }

  #member(): { set?: string; char?: string } {
    if (!this.#take("\\")) return { char: this.#next() };
    const set = this.#set();
    if (set !== undefined) return { set };
    if (this.#take("w")) return { set: CLASSES.word };
    if (this.#take("W")) return { set: `[^${CLASSES.word}]` };
    if (this.#take("b")) return { char: "\b" };
    return { char: this.#character() };
  }

  #next(): string {
    const char = String.fromCodePoint(this.#pattern.codePointAt(this.#at) ?? 0xfffd);
    this.#at += char.length;
    return char;
  }

  #take(text: string): boolean {
    if (!this.#pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #unknown(part: string, where = ""): UnknownPattern {
    return new UnknownPattern(`it has ${JSON.stringify(part)}${where === "" ? "" : ` ${where}`}`);
  }
}

const escaped = (char: string): string => `\\u{${char.codePointAt(0)!.toString(16)}}`;

function literal(char: string, fold: boolean): string {
  return fold && hasCase(char) ? `[${inClass(char, fold)}]` : escaped(char);
}

/** A character in a class, in both cases where `fold` is set. */
function inClass(char: string, fold: boolean): string {
  if (!fold || !hasCase(char)) return escaped(char);
  if (char > "\x7f") throw new UnknownPattern(`it has ${JSON.stringify(char)} without case`);
  const cases = FOLDS[char.toLowerCase()] ?? char.toLowerCase() + char.toUpperCase();
  return [...cases].map(escaped).join("");
}

const hasCase = (char: string): boolean => char.toLowerCase() !== char.toUpperCase();
