import type { Affine } from "./types.ts";

/** Interventions of two origins as one: at a point that both change, the first come first. Both keep their tensors. */
export function joinChanges(
  first: ReadonlyMap<string, Affine> | undefined,
  second: ReadonlyMap<string, Affine>,
): ReadonlyMap<string, Affine> {
  if (!first || first.size === 0) return second;
  const joined = new Map(first);
  for (const [hook, last] of second) {
    const before = first.get(hook);
    joined.set(hook, before ? behind(last, before) : last);
  }
  return joined;
}

/** A chain of interventions with another chain done before it. */
function behind(last: Affine, earlier: Affine): Affine {
  return { ...last, before: last.before ? behind(last.before, earlier) : earlier };
}
