/** A count with its noun in the right number: "1 token", "1,027 tokens". @param many default the noun with an s */
export function counted(count: number, noun: string, many = `${noun}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : many}`;
}
