/** Deepest nesting that is read; JSON.parse takes more than writing it into an error can. */
export const DEEPEST_JSON = 64;

/**
 * Names what makes a JSON text untrustworthy, or undefined: nesting that no description of a model has, or a key that stands
 * twice in one object. JSON.parse keeps the last silently, and two programs that disagree on which one counts would read
 * different tensors from one file.
 * @param text valid JSON (JSON.parse accepted it)
 * @param depth objects and lists that may stand inside each other
 */
export function jsonFault(text: string, depth = DEEPEST_JSON): string | undefined {
  const open: (Set<string> | undefined)[] = []; // one for each open object; undefined for an array
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{" || character === "[") {
      open.push(character === "{" ? new Set() : undefined);
      if (open.length > depth) return `it nests deeper than ${depth}`;
    }
    if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const start = at;
      for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
      let next = at + 1;
      while (text.charCodeAt(next) <= 32) next++;
      if (text[next] !== ":") continue;
      const keys = open.at(-1);
      const key = JSON.parse(text.slice(start, at + 1)) as string;
      if (keys?.has(key)) return `it names "${key.slice(0, 80)}" twice`;
      keys?.add(key);
    }
  }
  return undefined;
}
