/** A value of the template engine (@huggingface/jinja): its kind, and its JavaScript value. */
export interface Value {
  readonly type: string;
  readonly value: unknown;
}

/** White space to Python's str.strip. */
const SPACE =
  "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000";

/** A text without the characters of a set at one end or both, as Python's strip, lstrip and rstrip. @param chars default white space */
export function strip(text: string, ends: "both" | "left" | "right", chars: string = SPACE): string {
  const set = new Set(chars);
  const points = [...text];
  let [start, end] = [0, points.length];
  if (ends !== "right") while (start < end && set.has(points[start]!)) start++;
  if (ends !== "left") while (end > start && set.has(points[end - 1]!)) end--;
  return points.slice(start, end).join("");
}

/** A value as Python's str() spells it; what is not defined is empty. */
export function str(value: Value): string {
  if (value.type === "StringValue") return value.value as string;
  return value.type === "UndefinedValue" ? "" : repr(value);
}

/** A value as Python's repr() spells it. */
function repr(value: Value): string {
  switch (value.type) {
    case "NullValue":
    case "UndefinedValue":
      return "None";
    case "BooleanValue":
      return value.value === true ? "True" : "False";
    case "StringValue":
      return quoted(value.value as string);
    case "ArrayValue":
      return `[${(value.value as Value[]).map(repr).join(", ")}]`;
    case "TupleValue": {
      const items = (value.value as Value[]).map(repr);
      return `(${items.join(", ")}${items.length === 1 ? "," : ""})`;
    }
    case "ObjectValue":
      return `{${[...(value.value as Map<string, Value>)].map(([key, item]) => `${quoted(key)}: ${repr(item)}`).join(", ")}}`;
    default:
      return String(value);
  }
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function quoted(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  let result = "";
  for (const char of text) {
    const point = char.codePointAt(0)!;
    if (char === mark) result += `\\${char}`;
    else if (Object.hasOwn(ESCAPES, char)) result += ESCAPES[char];
    else if (/[\p{C}\p{Z}]/u.test(char) && char !== " ")
      result +=
        point < 0x100
          ? `\\x${point.toString(16).padStart(2, "0")}`
          : point < 0x10000
            ? `\\u${point.toString(16).padStart(4, "0")}`
            : `\\U${point.toString(16).padStart(8, "0")}`;
    else result += char;
  }
  return mark + result + mark;
}

/** Tells whether two values are equal to Python: lists and dictionaries by what they hold, True and 1 as well. */
export function equal(one: Value, other: Value): boolean {
  const [a, b] = [one.value, other.value];
  if (isNumber(one) && isNumber(other)) return Number(a) === Number(b);
  if (one.type !== other.type) return false;
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, at) => equal(item as Value, b[at] as Value));
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, item]) => b.has(key) && equal(item as Value, b.get(key) as Value));
  return one.type === "NullValue" || a === b;
}

/**
 * The order of two values to Python: numbers, texts by code points, lists by their first difference.
 * @throws Error for values that Python does not order
 */
export function compare(one: Value, other: Value): number {
  const [a, b] = [one.value, other.value];
  if (isNumber(one) && isNumber(other)) return Number(a) - Number(b);
  if (typeof a === "string" && typeof b === "string") {
    const [left, right] = [[...a], [...b]];
    const at = left.findIndex((char, index) => char !== right[index]);
    if (at < 0 || at >= right.length) return left.length - right.length;
    return left[at]!.codePointAt(0)! - right[at]!.codePointAt(0)!;
  }
  if (Array.isArray(a) && Array.isArray(b)) {
    const at = a.findIndex((item, index) => index >= b.length || !equal(item as Value, b[index] as Value));
    return at < 0 || at >= b.length ? a.length - b.length : compare(a[at] as Value, b[at] as Value);
  }
  throw new Error(`the order of a ${one.type} and a ${other.type}`);
}

const isNumber = ({ type }: Value): boolean => ["IntegerValue", "FloatValue", "BooleanValue"].includes(type);

const DIRECTIVE = /%(?:\((\w+)\))?([-+ 0]*)(\d*)(?:\.(\d+))?(.)/gsu;

/**
 * A text with values in the places of its directives, as Python's % does it.
 * @throws Error for a directive that is not known, or too few or too many values
 */
export function percentFormat(format: string, operand: Value): string {
  const values = operand.type === "TupleValue" ? (operand.value as Value[]) : [operand];
  let next = 0;
  const result = format.replace(DIRECTIVE, (...match: string[]) => {
    const [whole, name, flags, width, digits, kind] = match as [
      string,
      string | undefined,
      string,
      string,
      string | undefined,
      string,
    ];
    if (kind === "%") return "%";
    const value = name === undefined ? values[next++] : (operand.value as Map<string, Value>).get?.(name);
    if (value === undefined) throw new Error(`no value for "${whole}"`);
    return padded(converted(value, kind, digits, whole), flags, Number(width || 0));
  });
  if (next < values.length && operand.type === "TupleValue") throw new Error(`more values than "${format}" has places`);
  return result;
}

function converted(value: Value, kind: string, digits: string | undefined, whole: string): string {
  if (kind === "s" || kind === "r") {
    const text = kind === "s" ? str(value) : repr(value);
    return digits === undefined ? text : [...text].slice(0, Number(digits)).join("");
  }
  if (!isNumber(value)) throw new Error(`"${whole}" for a ${value.type}`);
  const number = Number(value.value);
  if (kind === "d" || kind === "i") return String(Math.trunc(number));
  if (kind === "f") return number.toFixed(Number(digits ?? 6));
  if (kind === "x") return Math.trunc(number).toString(16);
  throw new Error(`the directive "${whole}"`);
}

function padded(text: string, flags: string, width: number): string {
  const signed = flags.includes("+") && /^\d/.test(text) ? `+${text}` : text;
  if (width > 10_000) throw new Error(`a width of ${width}`);
  if (flags.includes("-")) return signed.padEnd(width);
  if (!flags.includes("0") || !/^[-+]?\d/.test(signed)) return signed.padStart(width);
  const sign = /^[-+]/.exec(signed)?.[0] ?? "";
  return sign + signed.slice(sign.length).padStart(width - sign.length, "0");
}

/**
 * A text with values in the places of its braces, as Python's str.format does it.
 * @throws Error for a place that asks for more than a value's text
 */
export function braces(format: string, values: readonly Value[], named: ReadonlyMap<string, Value>): string {
  let next = 0;
  return format.replace(/\{\{|\}\}|\{(\w*)([^{}]*)\}/g, (whole, name: string | undefined, more: string | undefined) => {
    if (name === undefined) return whole[0]!;
    if (more !== "") throw new Error(`the place "${whole}"`);
    const value = name === "" ? values[next++] : /^\d+$/.test(name) ? values[Number(name)] : named.get(name);
    if (value === undefined) throw new Error(`no value for "${whole}"`);
    return str(value);
  });
}
