/** What a KV head holds: numbered rows, and what of them a query sees, as `HeadPlaces` has it. */
export interface HeldRows {
  spans: readonly { row: number; position: number; count: number }[];
  window?: number | undefined;
  sink?: number | undefined;
  local?: number | undefined;
}

/** What the kernel is asked, in plain numbers. */
export interface Question {
  /** [sequences, tokens, heads, d] */
  q: Float32Array;
  /** [rows, d] */
  keys: Float32Array;
  values: Float32Array;
  positions: readonly (readonly number[])[];
  places: readonly (readonly HeldRows[])[];
  heads: number;
  d: number;
  scale: number;
  cap?: number | undefined;
  sinks?: readonly number[] | undefined;
  /** Squares of 64 positions that 64 query tokens read, beside those of their own: by head (or one for all), queries and positions. */
  blocks?: readonly (readonly (readonly boolean[])[])[] | undefined;
}

/** Attention in float64: z [sequences, tokens, heads, d], pattern [sequences, tokens, heads, last position + 1]. */
export interface AttentionResult {
  z: Float64Array;
  pattern: Float64Array;
}

/** Attention by its definition: one query head after the other, a list of what it sees, softmax, weighted sum. */
export function attentionOf(question: Question): AttentionResult {
  const { positions, heads, d } = question;
  const columns = Math.max(...positions.flat()) + 1;
  const queries = positions.flat().length;
  const [z, pattern] = [new Float64Array(queries * heads * d), new Float64Array(queries * heads * columns)];
  const { q, keys, values, places, scale, cap, sinks } = question;
  let row = 0;
  positions.forEach((tokens, s) => {
    tokens.forEach((position, t) => {
      for (let h = 0; h < heads; h++, row++) {
        const own = places[s]!;
        const isRead = readsOf(question, { h, t, tokens });
        const seen = visible(own[Math.floor(h / (heads / own.length))]!, position).filter((key) =>
          isRead(key.position),
        );
        const scores = seen.map(({ row: key }) => {
          let sum = 0;
          for (let i = 0; i < d; i++) sum += q[row * d + i]! * keys[key * d + i]!;
          return cap ? cap * Math.tanh((sum * scale) / cap) : sum * scale;
        });
        const sink = sinks?.[h] ?? Number.NEGATIVE_INFINITY;
        const most = Math.max(sink, ...scores);
        const weights = scores.map((score) => Math.exp(score - most));
        const total = weights.reduce((a, b) => a + b, sinks ? Math.exp(sink - most) : 0);
        seen.forEach(({ row: value, position: at }, i) => {
          pattern[row * columns + at]! += weights[i]! / total;
          for (let k = 0; k < d; k++) z[row * d + k]! += (weights[i]! / total) * values[value * d + k]!;
        });
      }
    });
  });
  return { z, pattern };
}

/** The positions whose squares a query token of a head reads. */
function readsOf(
  { blocks }: Question,
  { h, t, tokens }: { h: number; t: number; tokens: readonly number[] },
): (position: number) => boolean {
  if (!blocks) return () => true;
  const square = (n: number) => Math.floor(n / 64);
  const beside = tokens.slice(square(t) * 64, square(t) * 64 + 64).map(square);
  const row = blocks[h % blocks.length]![square(t)]!;
  return (position) =>
    row[square(position)] === true ||
    (square(position) >= Math.min(...beside) && square(position) <= Math.max(...beside));
}

/** The rows that a query sees, with their positions. */
function visible(
  { spans, window = 0, sink = 0, local = 0 }: HeldRows,
  query: number,
): { row: number; position: number }[] {
  return spans
    .flatMap(({ row, position, count }) =>
      Array.from({ length: count }, (_, i) => ({ row: row + i, position: position + i })),
    )
    .filter(({ position }) => position <= query && (local === 0 || position > query - local))
    .filter(({ position }) => window === 0 || position > query - window || position < sink);
}
