import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { braces, compare, equal, percentFormat, str, strip, type Value } from "./python-values.ts";

/** A node of a parsed template, as far as it is looked at here. */
interface Node {
  readonly type: string;
  readonly value?: unknown;
  readonly callee?: Node;
  readonly object?: Node;
  readonly property?: Node;
  readonly computed?: boolean;
  readonly left?: Node;
  readonly right?: Node;
  readonly operator?: { readonly value: string };
  readonly args?: readonly Node[];
  readonly body?: readonly Node[];
  readonly loopvar?: Node;
  readonly iterable?: Node;
  readonly lhs?: Node;
}

/** The package's interpreter with its methods open, which its types hide. */
interface OpenInterpreter {
  run(program: unknown): Value;
  evaluate(node: Node, scope: Environment): Value;
  evaluateArguments(args: readonly Node[], scope: Environment): [Value[], Map<string, Value>];
  evaluateCallExpression(node: Node, scope: Environment): Value;
  evaluateMemberExpression(node: Node, scope: Environment): Value;
  evaluateBinaryExpression(node: Node, scope: Environment): Value;
  evaluateBlock(nodes: readonly Node[], scope: Environment): Value;
  evaluateFor(node: Node, scope: Environment): Value;
  applyFilter(operand: Value, filter: Node, scope: Environment): Value;
}

/** Refusal by the template itself, through raise_exception. */
class Refusal extends Error {}

/** Lack of the messages: a property of something that is not there. */
class Lack extends Error {}

/** The end of a turn of a loop before its last statement, and what the turn has written so far. */
class LoopControl extends Error {
  written = "";
  readonly ends: boolean;
  /** The package's own error, which ends the loop. */
  readonly original: unknown;

  constructor(ends: boolean, original: unknown) {
    super();
    this.ends = ends;
    this.original = original;
  }
}

/** A JavaScript value as the engine's. */
const wrapped = (value: unknown): Value => new Environment().set("value", value);

const text = (value: Value | undefined, what: string): string => {
  if (value?.type !== "StringValue")
    throw new Error(`${what} of ${value === undefined ? "nothing" : `a ${value.type}`}`);
  return value.value as string;
};

type Arguments = { readonly values: readonly Value[]; readonly named: ReadonlyMap<string, Value> };

const stripping =
  (ends: "both" | "left" | "right") =>
  (own: string, { values: [chars] }: Arguments): unknown =>
    strip(own, ends, chars === undefined || chars.type === "NullValue" ? undefined : text(chars, "strip"));

// biome-ignore lint/suspicious/noControlCharactersInRegex: Python ends lines there
const LINE_END = /\r\n|[\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029]/;

/** Methods of texts that the package lacks or does otherwise, as Python has them. */
const METHODS: Readonly<Record<string, (own: string, args: Arguments) => unknown>> = {
  strip: stripping("both"),
  lstrip: stripping("left"),
  rstrip: stripping("right"),
  format: (own, { values, named }) => braces(own, values, named),
  join: (own, { values: [list] }) => {
    if (!Array.isArray(list?.value)) throw new Error("join of what is no list");
    return (list.value as Value[]).map((item) => text(item, "join")).join(own);
  },
  removeprefix: (own, { values: [start] }) => {
    const prefix = text(start, "removeprefix");
    return own.startsWith(prefix) ? own.slice(prefix.length) : own;
  },
  removesuffix: (own, { values: [end] }) => {
    const suffix = text(end, "removesuffix");
    return suffix !== "" && own.endsWith(suffix) ? own.slice(0, -suffix.length) : own;
  },
  find: (own, { values: [part] }) => position(own, own.indexOf(text(part, "find"))),
  rfind: (own, { values: [part] }) => position(own, own.lastIndexOf(text(part, "rfind"))),
  count: (own, { values: [part] }) => {
    const sought = text(part, "count");
    return sought === "" ? [...own].length + 1 : own.split(sought).length - 1;
  },
  splitlines: (own) => {
    const lines = own.split(LINE_END);
    return lines.at(-1) === "" ? lines.slice(0, -1) : lines;
  },
  isdigit: (own) => /^\p{Nd}+$/u.test(own),
  isspace: (own) => own !== "" && strip(own, "both") === "",
};

const position = (own: string, units: number): number => (units < 0 ? -1 : [...own.slice(0, units)].length);

/** Filters that the package lacks or does otherwise, as Jinja has them; undefined leaves the work to the package. */
const FILTERS: Readonly<Record<string, (operand: Value, args: Arguments) => unknown>> = {
  trim: (operand, args) => stripping("both")(str(operand), args),
  string: str,
  format: (operand, { values }) => percentFormat(text(operand, "format"), { type: "TupleValue", value: [...values] }),
  length: (operand) => (operand.type === "StringValue" ? [...(operand.value as string)].length : undefined),
  join: (operand, { values, named }) =>
    Array.isArray(operand.value) && !named.has("attribute") && values.length < 2
      ? (operand.value as Value[]).map(str).join(str(values[0] ?? named.get("d") ?? wrapped("")))
      : undefined,
  sort: (operand, { values, named }) => {
    if (!Array.isArray(operand.value)) throw new Error(`sort of a ${operand.type}`);
    const option = (place: number, name: string) => values[place] ?? named.get(name);
    const folds = option(1, "case_sensitive")?.value !== true;
    const sign = option(0, "reverse")?.value === true ? -1 : 1;
    const path = option(2, "attribute");
    const keys = (item: Value) => attributes(item, path).map((key) => (folds ? lower(key) : key));
    const sorted = (operand.value as Value[]).map((item) => ({
      item,
      keys: { type: "TupleValue", value: keys(item) },
    }));
    return sorted.sort((a, b) => sign * compare(a.keys, b.keys)).map(({ item }) => item);
  },
};

const lower = (key: Value): Value => (key.type === "StringValue" ? wrapped((key.value as string).toLowerCase()) : key);

/** Keys that a list is sorted by: the items, or one or more attributes of them, each a path with dots. */
function attributes(item: Value, path: Value | undefined): Value[] {
  if (path === undefined || path.type === "NullValue") return [item];
  return String(path.value)
    .split(",")
    .map((names) =>
      names.split(".").reduce<Value>((holder, name) => {
        const { value } = holder;
        const item = value instanceof Map ? value.get(name) : Array.isArray(value) ? value[Number(name)] : undefined;
        if (item === undefined) throw new Lack(`the messages hold nothing of the name "${name}" to sort by`);
        return item as Value;
      }, item),
    );
}

const OpenBase = Interpreter as unknown as new (scope: Environment) => OpenInterpreter;

/** Nodes that are statements: their value is no output of their own. */
const SILENT = new Set(["Set", "Macro", "Comment"]);

/** The package's interpreter with Python's meaning of texts, truth and order. */
class PythonInterpreter extends OpenBase {
  readonly #loops: { readonly body: readonly Node[] | undefined; stop?: LoopControl }[] = [];

  override evaluate(node: Node, scope: Environment): Value {
    if (node?.type === "Known") return node.value as Value;
    if (node?.type !== "Break" && node?.type !== "Continue") return super.evaluate(node, scope);
    try {
      return super.evaluate(node, scope);
    } catch (original) {
      throw new LoopControl(node.type === "Break", original);
    }
  }

  override evaluateFor(node: Node, scope: Environment): Value {
    this.#loops.push({ body: node.body });
    try {
      return super.evaluateFor(this.#unpackable(node, scope), scope);
    } finally {
      this.#loops.pop();
    }
  }

  /** A loop over pairs with its tuples as lists: the package takes only these apart. */
  #unpackable(node: Node, scope: Environment): Node {
    const { loopvar, iterable } = node;
    if (loopvar?.type !== "TupleLiteral" || iterable === undefined) return node;
    const selects = iterable.type === "SelectExpression";
    const list = this.evaluate(selects ? iterable.lhs! : iterable, scope);
    if (!Array.isArray(list.value)) return node;
    const items = (list.value as Value[]).map((item) =>
      item.type === "TupleValue" ? listed(item.value as Value[]) : item,
    );
    const literal = { type: "Known", value: listed(items) };
    return { ...node, iterable: selects ? { ...iterable, lhs: literal } : literal };
  }

  /** Keeps what a turn has written before a break or continue stays written; the package drops it. */
  override evaluateBlock(nodes: readonly Node[], scope: Environment): Value {
    const loop = this.#loops.at(-1);
    const turn = loop?.body === nodes ? loop : undefined;
    if (turn?.stop) throw turn.stop.original;
    let result = "";
    try {
      for (const node of nodes) {
        const value = this.evaluate(node, scope);
        if (!SILENT.has(node.type)) result += str(value);
      }
    } catch (control) {
      if (!(control instanceof LoopControl)) throw control;
      control.written = result + control.written;
      if (turn === undefined) throw control;
      if (control.ends) turn.stop = control;
      return wrapped(control.written);
    }
    return wrapped(result);
  }

  override evaluateCallExpression(node: Node, scope: Environment): Value {
    const { callee } = node;
    if (callee?.type === "Identifier" && this.evaluate(callee, scope).type === "UndefinedValue")
      throw new Error(`${String(callee.value)}()`);
    if (callee?.type !== "MemberExpression" || callee.computed) return super.evaluateCallExpression(node, scope);
    const object = this.evaluate(callee.object!, scope);
    const name = callee.property!.value as string;
    if (object.type === "StringValue" && Object.hasOwn(METHODS, name))
      return wrapped(METHODS[name]!(object.value as string, this.#arguments(node.args ?? [], scope)));
    if (object.type === "ObjectValue" && name === "items") return this.#pairs(object, scope);
    const literal = { type: "Known", value: object };
    const method = this.evaluateMemberExpression({ ...callee, object: literal }, scope);
    if (method.type === "UndefinedValue") throw new Error(`${name}() of a ${object.type}`);
    return super.evaluateCallExpression({ ...node, callee: { type: "Known", value: method } }, scope);
  }

  override evaluateMemberExpression(node: Node, scope: Environment): Value {
    const object = this.evaluate(node.object!, scope);
    if (object.type === "UndefinedValue") {
      const name = node.computed ? "" : ` "${String(node.property!.value)}"`;
      throw new Lack(`it looks for${name || " a part"} in what is not there`);
    }
    return super.evaluateMemberExpression({ ...node, object: { type: "Known", value: object } }, scope);
  }

  override evaluateBinaryExpression(node: Node, scope: Environment): Value {
    const operator = node.operator!.value;
    if (!["~", "%", "==", "!=", "in", "not in"].includes(operator)) return super.evaluateBinaryExpression(node, scope);
    const left = this.evaluate(node.left!, scope);
    const right = this.evaluate(node.right!, scope);
    if (operator === "~") return wrapped(str(left) + str(right));
    if (operator === "==" || operator === "!=") return wrapped(equal(left, right) === (operator === "=="));
    if (operator === "%" && left.type === "StringValue") return wrapped(percentFormat(left.value as string, right));
    if ((operator === "in" || operator === "not in") && Array.isArray(right.value))
      return wrapped((right.value as Value[]).some((item) => equal(item, left)) === (operator === "in"));
    const literal = (value: Value) => ({ type: "Known", value });
    const result = super.evaluateBinaryExpression({ ...node, left: literal(left), right: literal(right) }, scope);
    // The remainder has the sign of the divisor in Python.
    if (operator !== "%") return result;
    const [rest, divisor] = [Number(result.value), Number(right.value)];
    return rest !== 0 && rest < 0 !== divisor < 0 ? wrapped(rest + divisor) : result;
  }

  override applyFilter(operand: Value, filter: Node, scope: Environment): Value {
    const name = (filter.type === "CallExpression" ? filter.callee! : filter).value as string;
    if (Object.hasOwn(FILTERS, name)) {
      const filtered = FILTERS[name]!(operand, this.#arguments(filter.args ?? [], scope));
      if (filtered !== undefined) return Array.isArray(filtered) ? listed(filtered as Value[]) : wrapped(filtered);
    }
    const result = super.applyFilter(operand, filter, scope);
    if (name !== "dictsort" && name !== "items") return result;
    return listed((result.value as Value[]).map((pair) => this.#tuple(pair.value as Value[], scope)));
  }

  /** Keys and values of a dictionary; pairs are tuples, which print and sort as such. */
  #pairs(object: Value, scope: Environment): Value {
    const entries = [...(object.value as Map<string, Value>)];
    return listed(entries.map(([key, value]) => this.#tuple([wrapped(key), value], scope)));
  }

  #tuple(values: readonly Value[], scope: Environment): Value {
    return super.evaluate({ type: "TupleLiteral", value: values.map((value) => ({ type: "Known", value })) }, scope);
  }

  #arguments(args: readonly Node[], scope: Environment): Arguments {
    const [values, named] = this.evaluateArguments(args, scope);
    return { values, named };
  }
}

/** Values of the engine as a list of the engine. */
function listed(values: Value[]): Value {
  const list = wrapped([]);
  (list.value as Value[]).push(...values);
  return list;
}

/** Most numbers of a range: a template counts messages. */
const LONGEST_RANGE = 10_000;

function range(...bounds: unknown[]): number[] {
  const [first, last, step = 1] = bounds.filter((bound): bound is number => typeof bound === "number");
  const [start, stop] = last === undefined ? [0, first ?? 0] : [first!, last];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= LONGEST_RANGE)) throw new Error(`a range of ${length} numbers`);
  return Array.from({ length }, (_, place) => start + place * step);
}

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** The time now, as Python's strftime spells it in English. */
function strftimeNow(format: string): string {
  const now = new Date();
  const two = (value: number) => String(value).padStart(2, "0");
  const parts: Readonly<Record<string, string>> = {
    Y: String(now.getFullYear()),
    y: two(now.getFullYear() % 100),
    m: two(now.getMonth() + 1),
    d: two(now.getDate()),
    e: String(now.getDate()).padStart(2),
    H: two(now.getHours()),
    I: two(now.getHours() % 12 || 12),
    M: two(now.getMinutes()),
    S: two(now.getSeconds()),
    p: now.getHours() < 12 ? "AM" : "PM",
    B: MONTHS[now.getMonth()]!,
    b: MONTHS[now.getMonth()]!.slice(0, 3),
    A: DAYS[now.getDay()]!,
    a: DAYS[now.getDay()]!.slice(0, 3),
    "%": "%",
  };
  return format.replace(/%(-?)(.)/gs, (whole, bare: string, part: string) => {
    const item = parts[part];
    if (item === undefined) throw new Error(`strftime_now("${whole}")`);
    return bare === "" ? item : item.replace(/^[0 ]/, "");
  });
}

/** Names that every template can use. */
const GLOBALS: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  range,
  strftime_now: strftimeNow,
  raise_exception: (message: unknown) => {
    throw new Refusal(String(message));
  },
};

/** Outcome of a template on a conversation: its text; or why the template refuses it, or what the template uses that is not known. */
export type TemplateResult = { readonly text: string } | { readonly refusal: string } | { readonly unknown: string };

/**
 * Writes a conversation by a chat template (Jinja, with Python's meaning of values), as transformers does. The template is foreign
 * code, which may take for ever: `renderTemplate` runs this in a process of its own.
 * @param variables what the template's names stand for
 */
export function runTemplate(source: string, variables: Readonly<Record<string, unknown>>): TemplateResult {
  const scope = new Environment();
  try {
    const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }));
    for (const [name, value] of Object.entries({ ...GLOBALS, tools: null, documents: null, ...variables }))
      scope.set(name, value);
    return { text: str(new PythonInterpreter(scope).run(program)) };
  } catch (error) {
    const message = String((error as Error | undefined)?.message ?? error).slice(0, 300);
    return error instanceof Refusal || error instanceof Lack ? { refusal: message } : { unknown: message };
  }
}
