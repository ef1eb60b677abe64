// Compares the classes of Rust's tokenizers (tokenizer_unicode.py, on standard input) with JavaScript's.
import { text } from "node:stream/consumers";

const facts = JSON.parse(await text(process.stdin));
const every = Array.from({ length: 0x110000 }, (_, point) => point).filter(
  (point) => point < 0xd800 || point >= 0xe000,
);
/** @param {number} point */
const char = (point) => String.fromCodePoint(point);

/** @param {Iterable<number>} points */
function ranges(points) {
  /** @type {[number, number][]} */
  const result = [];
  for (const point of [...points].sort((a, b) => a - b)) {
    const last = result.at(-1);
    if (last?.[1] === point - 1) last[1] = point;
    else result.push([point, point]);
  }
  return result
    .map(([first, last]) => (first === last ? [first] : [first, last]).map((end) => end.toString(16)).join("-"))
    .join(" ");
}

/** @param {number[]} own @param {RegExp} pattern @param {Record<number, string>} [except] */
function differing(own, pattern, except = {}) {
  const set = new Set(own);
  const inScope = every.filter((point) => except[point] === undefined);
  const less = inScope.filter((point) => pattern.test(char(point)) && !set.has(point));
  const more = inScope.filter((point) => !pattern.test(char(point)) && set.has(point));
  return `${ranges(less)} | also ${ranges(more)}`;
}

const unassigned = new Set(facts.unassigned);
console.log("NEWER", ranges(every.filter((point) => unassigned.has(point) && !/\p{Cn}/u.test(char(point)))));

const inert = new Set();
for (const [form, table] of Object.entries(/** @type {Record<string, Record<number, string>>} */ (facts.forms)))
  for (const point of every) {
    if (char(point).normalize(form) === (table[point] ?? char(point))) continue;
    inert.add(point);
    // What composes to a new character begins with a new one too.
    inert.add(char(point).normalize("NFD").codePointAt(0) ?? point);
  }
for (const { own: moving, moved } of [
  { own: facts.before, moved: (/** @type {string} */ mark) => `a\u0345${mark}` },
  { own: facts.behind, moved: (/** @type {string} */ mark) => `a${mark}\u0334` },
]) {
  const own = new Set(moving);
  for (const point of every) {
    const plain = moved(char(point).normalize("NFD"));
    if ((moved(char(point)).normalize("NFD") !== plain) !== own.has(point)) inert.add(point);
  }
}
console.log("INERT", ranges(inert));
console.log("NO_PUNCTUATION", differing(facts.punctuation, /[\p{P}!-/:-@[-`{-~]/u));
console.log("NO_MARKS", differing(facts.marks, /\p{M}/u));
console.log("NO_ACCENTS", differing(facts.accents, /\p{Mn}/u, facts.forms.NFD));
