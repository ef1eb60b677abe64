/** A difference with its sign: "+0.123". */
export function signed(value: number, digits = 3): string {
  return `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(digits)}`;
}

/**
 * Lines of words, broken at spaces.
 * @param width characters of a line, of all but the longest words @param indent before every line but the first
 */
export function wrapped(words: readonly string[], width = 100, indent = "  "): string {
  const lines: string[] = [];
  for (const word of words) {
    const line = lines.at(-1);
    if (line === undefined) lines.push(word);
    else if (line.length + word.length + 1 > width) lines.push(indent + word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return lines.join("\n");
}

/** A count with its noun in the right number: "1 token", "1,027 tokens". @param many default the noun with an s */
export function counted(count: number, noun: string, many = `${noun}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : many}`;
}
