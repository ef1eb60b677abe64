type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Values that no honest file has, or not in that place. */
export const LIES: readonly Json[] = [
  null, true, false, 0, 1, -1, 2, 3, 7, 0.5, 1e-300, 1e300, 65536, 2 ** 31, 2 ** 31 - 1, 2 ** 53, -(2 ** 31), "", "8",
  "../../etc/passwd", "\u0000", "x".repeat(5000), [], {}, [[]], [1e9], ["global"], [[["local"], 1e9]], { factor: -1 },
  { rope_type: "yarn" }, { rope_type: "llama3", factor: 1e300, low_freq_factor: 4, high_freq_factor: 4 },
  { type: "linear", factor: 0 }, { rope_type: "longrope" }, { toString: 1, valueOf: 1 },
]; // biome-ignore format: a table

/** The path of every field of a document, those of its objects' fields among them. */
export function pathsOf(document: unknown): string[][] {
  const isPlain = typeof document === "object" && document !== null && !Array.isArray(document);
  if (!isPlain || ArrayBuffer.isView(document)) return [];
  return Object.entries(document).flatMap(([key, value]) => [[key], ...pathsOf(value).map((path) => [key, ...path])]);
}

/** Every place in a document where a value stands: its holder and key. */
function places(value: Json): { holder: { [key: string]: Json }; key: string }[] {
  if (typeof value !== "object" || value === null) return [];
  const holder = value as { [key: string]: Json };
  return Object.keys(holder).flatMap((key) => [{ holder, key }, ...places(holder[key]!)]);
}

/**
 * A JSON text with one or two of its facts changed: a value replaced by a lie or by another value of the document, a field
 * left out, a field put in, a key twice, or brackets nested deeper than a parser's stack.
 */
export function mutateJson(text: string, random: () => number): string {
  const document = JSON.parse(text) as Json;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  for (let times = random() < 0.7 ? 1 : 2; times > 0; times--) {
    const all = places(document);
    const { holder, key } = pick(all);
    const kind = random();
    if (kind < 0.7) holder[key] = pick(LIES);
    else if (kind < 0.8) {
      const other = pick(all);
      holder[key] = structuredClone(other.holder[other.key]!);
    } else if (kind < 0.9 && !Array.isArray(holder)) delete holder[key];
    else
      holder[pick(["sliding_window", "head_dim", "rope_scaling", "num_experts", "quantization_config", "x"])] =
        pick(LIES);
  }
  const changed = JSON.stringify(document);
  const rest = random();
  if (rest < 0.03) return `${changed.slice(0, -1)},${changed.slice(1)}`;
  if (rest < 0.05) return changed.replace(/:/, `:${"[".repeat(100_000)}${"]".repeat(100_000)},"z":`);
  return changed;
}
