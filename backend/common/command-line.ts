/** A word as a POSIX shell takes it. */
export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A parameter's value as `--param` takes it. */
export function parameterText(value: unknown): string {
  if (Array.isArray(value)) return value.map(parameterText).join(",");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Parameters as `--param` takes them, NAME=VALUE each. */
export function parameterPairs(parameters: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(parameters).map(([name, value]) => `${name}=${parameterText(value)}`);
}

/**
 * A command line of headscope.
 * @param words of the command, such as "ablate"
 * @param options by name; true is a bare flag, undefined and false leave it out, an array repeats it
 */
export function command(
  words: readonly string[],
  options: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>> = {},
): string {
  const parts = Object.entries(options).flatMap(([name, value]) => {
    if (value === undefined || value === false) return [];
    if (value === true) return [`--${name}`];
    return (Array.isArray(value) ? value : [value]).map((each) => `--${name} ${quote(String(each))}`);
  });
  return ["npx headscope", ...words.map(quote), ...parts].join(" ");
}

/** A text, or token ids in its place, with BOS before it or without where that is said. */
export interface CommandPrompt {
  readonly text?: string | undefined;
  readonly tokens?: readonly number[] | undefined;
  readonly bos?: boolean | undefined;
}

/**
 * A command line on a model and a prompt; token ids go by a file, which a line before it writes.
 * @param words of the command @param joint between the two lines
 */
export function promptCommand(
  words: string | readonly string[],
  { model, text, tokens, bos }: CommandPrompt & { readonly model: string },
  options: Parameters<typeof command>[1],
  joint = " && ",
): string {
  const line = command(typeof words === "string" ? [words] : words, {
    model,
    text,
    "tokens-file": tokens && "tokens.json",
    "prepend-bos": bos === true,
    "no-prepend-bos": bos === false,
    ...options,
  });
  return tokens ? `echo '[[${tokens.join(",")}]]' > tokens.json${joint}${line}` : line;
}

/** A shell line that writes a value to a JSON file. */
export function fileLine(name: string, value: unknown): string {
  return `printf '%s' ${quote(JSON.stringify(value))} > ${name}`;
}

/** Path of a file of the data folder, for a command line that is run beside it. */
export function dataFile(id: string): string {
  return `.headscope/${id}`;
}
