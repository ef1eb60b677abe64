import { brief, HeadscopeError } from "../../backend/common/errors.ts";
import { LONGEST_EXPRESSION } from "../../backend/common/texts/head-scores.ts";

/** A query and a key of a row, as an expression sees them. */
export interface Place {
  readonly query: number;
  readonly key: number;
  /** The row's token ids. */
  readonly row: readonly number[];
}

/** Tells whether a key belongs to a pattern. */
export type PatternRule = (place: Place) => boolean;

type Value = number | boolean;
interface Node {
  readonly type: "number" | "truth";
  value(place: Place): Value;
}

const TOKEN = /\s*(?:(?<number>\d+)|(?<word>[a-z]+)|(?<sign>==|!=|<=|>=|&&|\|\||[-+*%<>!()[\]]))/y;

/** Operators by precedence, loosest first; each is of values of one type. */
const LEVELS: readonly { of: Node["type"]; gives: Node["type"]; operators: Record<string, (a: never, b: never) => Value> }[] = [
  { of: "truth", gives: "truth", operators: { "||": (a: boolean, b: boolean) => a || b } },
  { of: "truth", gives: "truth", operators: { "&&": (a: boolean, b: boolean) => a && b } },
  {
    of: "number",
    gives: "truth",
    operators: {
      "==": (a: number, b: number) => a === b,
      // False where there is no such token, as every other comparison is.
      "!=": (a: number, b: number) => a < b || a > b,
      "<": (a: number, b: number) => a < b,
      "<=": (a: number, b: number) => a <= b,
      ">": (a: number, b: number) => a > b,
      ">=": (a: number, b: number) => a >= b,
    },
  },
  { of: "number", gives: "number", operators: { "+": (a: number, b: number) => a + b, "-": (a: number, b: number) => a - b } },
  {
    of: "number",
    gives: "number",
    operators: { "*": (a: number, b: number) => a * b, "%": (a: number, b: number) => ((a % b) + b) % b },
  },
]; // biome-ignore format: a table
const WORDS: Readonly<Record<string, string>> = { and: "&&", or: "||", not: "!" };
const NAMES: Readonly<Record<string, (place: Place) => number>> = {
  query: ({ query }) => query,
  key: ({ key }) => key,
  length: ({ row }) => row.length,
};

const REMEDY =
  'write a condition such as "key == query - 1", "token[key - 1] == token[query]" or "key < 4 and query >= 4": query, key, length, token[position], whole numbers, + - * %, comparisons, and, or, not, parentheses';

/**
 * Reads a pattern as an expression of `query` and `key`: nothing is evaluated but its own small grammar. `token[p]` is the id at a
 * position; a comparison with a position that the row does not have is false.
 * @throws HeadscopeError (usage) naming the place where it is wrong
 */
export function readExpression(text: string): PatternRule {
  if (text.length > LONGEST_EXPRESSION)
    throw new HeadscopeError("usage", `an expression of ${text.length} characters is too long`, {
      remedy: `give at most ${LONGEST_EXPRESSION}, or the pairs themselves`,
    });
  const node = new Parser(text).whole();
  return (place) => node.value(place) === true;
}

class Parser {
  readonly #text: string;
  readonly #tokens: { text: string; at: number }[] = [];
  #next = 0;

  constructor(text: string) {
    this.#text = text;
    const end = text.trimEnd().length;
    for (TOKEN.lastIndex = 0; TOKEN.lastIndex < end; ) {
      const start = TOKEN.lastIndex;
      const found = TOKEN.exec(text)?.[0];
      if (found === undefined)
        throw this.#wrong(`"${text.slice(start).trimStart()[0]}" is no part of an expression`, start);
      const part = found.trim();
      this.#tokens.push({ text: WORDS[part] ?? part, at: start + found.length - part.length });
    }
  }

  whole(): Node {
    const node = this.#binary(0);
    if (this.#peek() !== undefined) throw this.#wrong(`"${this.#peek()}" is unexpected`);
    return this.#insist(node, "truth", 0);
  }

  #binary(level: number): Node {
    const row = LEVELS[level];
    if (row === undefined) return this.#unary();
    // "not" binds tighter than "and" and looser than comparisons.
    if (row.gives === "truth" && row.of === "number" && this.#peek() === "!") {
      const start = this.#here();
      this.#next++;
      const node = this.#insist(this.#binary(level), "truth", start);
      return { type: "truth", value: (place) => !node.value(place) };
    }
    let start = this.#here();
    let left = this.#binary(level + 1);
    let chained: Node | undefined;
    for (let sign = this.#peek(); sign !== undefined && Object.hasOwn(row.operators, sign); sign = this.#peek()) {
      this.#next++;
      const operator = row.operators[sign] as (a: Value, b: Value) => Value;
      const first = this.#insist(chained ?? left, row.of, start);
      start = this.#here();
      const second = this.#insist(this.#binary(level + 1), row.of, start);
      const before = left;
      const value = (place: Place): Value => operator(first.value(place), second.value(place));
      // 0 <= key < 4 is both comparisons.
      left = { type: row.gives, value: chained ? (place) => before.value(place) === true && value(place) : value };
      if (row.of !== row.gives) chained = second;
    }
    return left;
  }

  #unary(): Node {
    const start = this.#here();
    if (this.#peek() !== "-") return this.#atom();
    this.#next++;
    const node = this.#insist(this.#unary(), "number", start);
    return { type: "number", value: (place) => -(node.value(place) as number) };
  }

  #atom(): Node {
    const start = this.#here();
    const part = this.#peek();
    this.#next++;
    if (part === undefined) throw this.#wrong("it ends too early", start);
    if (/^\d/.test(part)) return { type: "number", value: () => Number(part) };
    if (Object.hasOwn(NAMES, part)) return { type: "number", value: NAMES[part]! };
    if (part === "(") return this.#closed(this.#binary(0), ")");
    if (part === "token") {
      if (this.#peek() !== "[") throw this.#wrong('"token" stands before [position]', start);
      this.#next++;
      const position = this.#closed(this.#insist(this.#binary(0), "number", start), "]");
      return { type: "number", value: (place) => place.row[position.value(place) as number] ?? Number.NaN };
    }
    throw this.#wrong(`"${part}" is unexpected`, start);
  }

  #closed(node: Node, bracket: string): Node {
    if (this.#peek() !== bracket) throw this.#wrong(`"${bracket}" is missing`);
    this.#next++;
    return node;
  }

  #insist(node: Node, type: Node["type"], at: number): Node {
    if (node.type === type) return node;
    throw this.#wrong(
      type === "truth" ? "a condition is wanted, not a number" : "a number is wanted, not a condition",
      at,
    );
  }

  #peek(): string | undefined {
    return this.#tokens[this.#next]?.text;
  }

  #here(): number {
    return this.#tokens[this.#next]?.at ?? this.#text.length;
  }

  #wrong(what: string, at = this.#here()): HeadscopeError {
    return new HeadscopeError("usage", `expression "${brief(this.#text)}": ${what} (character ${at})`, {
      remedy: REMEDY,
      field: "expression",
    });
  }
}
