import type { HeadRole } from "../../common/heads/roles.ts";
import { tokensIn } from "../answers.ts";
import type { TokenPair } from "../pairs.ts";

/** A place that attention is read at: from one position to some others, whose shares are added up. */
export interface Look {
  readonly query: number;
  readonly keys: readonly number[];
}

/** Of a pair, the looks of each role that has its places in the clean prompt; shares of several looks are averaged. */
export type RoleLooks = Partial<Record<HeadRole, readonly Look[]>>;

/**
 * The places of a pair's roles in its clean prompt. S is the (first) wrong answer that stands at least twice, else the last token where
 * it stood before. The first position is never looked at: heads that look nowhere look there.
 */
export function roleLooks({ clean, answer, wrong }: Pick<TokenPair, "clean" | "answer" | "wrong">): RoleLooks {
  const end = clean.length - 1;
  const of = (ids: readonly number[]): number[] =>
    clean.flatMap((each, i) => (ids.includes(each) && i > 0 && i < end ? [i] : []));
  const [answers, wrongs] = [of(tokensIn(answer)), tokensIn(wrong)];
  const s = [...wrongs, clean[end]!].map((id) => repeated(clean, id)).find((found) => found !== undefined);
  const after = s && s.first + 1 < s.second ? s.first + 1 : undefined;
  // Where the last token is the second S, looking at what came after the first is induction, not moving.
  const moved = s?.second === end ? answers.filter((i) => i !== after) : answers;
  const from = (query: number, keys: readonly number[]): { looks?: readonly Look[] } =>
    keys.length > 0 ? { looks: [{ query, keys }] } : {};
  const found: Record<HeadRole, { looks?: readonly Look[] }> = {
    "name mover": from(end, moved),
    "negative name mover": from(end, moved),
    "S-inhibition": s && s.second < end && wrongs.includes(clean[s.second]!) ? from(end, [s.second]) : {},
    "copy suppression": from(end, of(wrongs)),
    "duplicate token": s && s.first > 0 ? from(s.second, [s.first]) : {},
    induction: s && after !== undefined ? from(s.second, [after]) : {},
    "previous token":
      clean.length > 2 ? { looks: clean.slice(2).map((_, i) => ({ query: i + 2, keys: [i + 1] })) } : {},
  };
  return Object.fromEntries(Object.entries(found).flatMap(([role, { looks }]) => (looks ? [[role, looks]] : [])));
}

/** The first and the last position of a token that stands more than once. */
function repeated(row: readonly number[], id: number): { first: number; second: number } | undefined {
  const [first, second] = [row.indexOf(id), row.lastIndexOf(id)];
  return first >= 0 && first < second ? { first, second } : undefined;
}
