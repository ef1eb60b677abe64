import type { Operation } from "./answers.ts";

const TEXTS = [
  "", " ", ".", "..", "/", "../x", "constructor", "__proto__", "toString", "null", "NaN", "0", "-1", "1e999", "0x1", "\u0000", "\ud800",
  "\u2028", "a".repeat(300), "x.json", "masks/x.json", "scores/constructor/x.json", "hf:", "hf:a/b@..", "run:", "run:x@-1", "run:x@9e9",
  "toy-induction", "induction", "csv", "blocks.0.attn.hook_z", "blocks.99.hook_x", "0.0", "99.99", ":", "5:1", "0:99999999", "q",
]; // biome-ignore format: a table
/** Usual values of a field of that name, so that some requests get further than their form. */
const USUAL: Readonly<Record<string, unknown>> = {
  ref: "toy-induction", model: "toy-induction", layer: "1", hook: "blocks.0.attn.hook_pattern", queries: "0:2", keys: "0:1", name: "odd",
  at: "blocks.0.attn.hook_z", format: "csv", text: "a b", tokens: [1, 2, 1], clean: [1, 2], corrupt: [1, 3], answer: 2, wrong: 3, rows: [[1, 2]],
  kvHeads: ["0.0"], ablate: ["0.0"], preset: "quick", probe: "mine", mask: "masks/odd.json", task: "induction", scores: "scores/odd/x.json", layers: 2,
}; // biome-ignore format: a table
const NUMBERS = [0, -0, 1, -1, 0.5, 2 ** 31, 2 ** 53, -(2 ** 53), 1e308, 1e-308];

/** A request to an operation with some odd values in place of those that its schema has. */
export function fuzz(
  { path, method, operation }: { path: string; method: string; operation: Operation },
  random: () => number,
  { prompt }: { prompt: string },
): { path: string; init: { method: string; headers?: Record<string, string>; body?: string } } {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const odd = (depth = 0): unknown => {
    const kind = random();
    if (kind < 0.4) return pick(TEXTS);
    if (kind < 0.6) return pick(NUMBERS);
    if (kind < 0.7) return pick([null, true, false]);
    if (depth > 2) return [];
    if (kind < 0.85) return Array.from({ length: Math.floor(random() * 4) }, () => odd(depth + 1));
    return JSON.parse(`{${JSON.stringify(pick(TEXTS))}:${JSON.stringify(odd(depth + 1))}}`);
  };
  const like = (schema: unknown, name = ""): unknown => {
    const own = schema as Record<string, unknown>;
    if (random() < 0.12) return odd();
    if (name === "prompt" && random() < 0.8) return prompt;
    if (Object.hasOwn(USUAL, name) && own["type"] !== "object" && random() < 0.6) return USUAL[name];
    const several = (own["anyOf"] ?? own["oneOf"]) as unknown[] | undefined;
    if (several) return like(pick(several), name);
    if (own["enum"]) return pick(own["enum"] as unknown[]);
    if ("const" in own) return own["const"];
    if (own["type"] === "array")
      return Array.from({ length: Math.floor(random() * 3) }, () => like(own["items"] ?? {}));
    if (own["type"] === "integer" || own["type"] === "number")
      return random() < 0.6 ? Math.floor(random() * 4) : pick(NUMBERS);
    if (own["type"] === "boolean") return random() < 0.5;
    if (own["type"] !== "object") return pick(TEXTS);
    const required = (own["required"] as string[] | undefined) ?? [];
    const fields = Object.entries((own["properties"] ?? {}) as Record<string, unknown>);
    const taken = fields.filter(([key]) => (required.includes(key) ? random() > 0.05 : random() < 0.5));
    return Object.fromEntries(taken.map(([key, each]) => [key, like(each, key)]));
  };
  const value = (name: string): string => {
    const usual = name === "id" ? prompt : USUAL[name];
    return encodeURIComponent(typeof usual === "string" && random() < 0.6 ? usual : pick(TEXTS).replace("\ud800", "?"));
  };
  const query = operation.parameters
    .filter((each) => each.in === "query" && random() < 0.6)
    .map(({ name }) => `${name}=${value(name)}`)
    .join("&");
  const address = path.replace(/\{(\w+)\}/g, (_, name: string) => value(name));
  const schema = operation.requestBody?.content["application/json"].schema;
  const headers = random() < 0.2 ? { range: pick(["bytes=9-1", "bytes=-0", "x", "bytes=0-0,0-0"]) } : {};
  return {
    path: query === "" ? address : `${address}?${query}`,
    init: {
      method: method.toUpperCase(),
      headers: { ...headers, ...(schema ? { "content-type": "application/json" } : {}) },
      ...(schema ? { body: JSON.stringify(like(schema)) ?? "null" } : {}),
    },
  };
}
