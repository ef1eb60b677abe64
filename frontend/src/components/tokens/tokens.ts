/** A token's text with its whitespace made visible: · for spaces, ↵ for line ends, ⇥ for tabs. */
export function visible(token: string): string {
  if (token === "") return "∅";
  return token.replaceAll(" ", "·").replaceAll("\r", "␍").replaceAll("\n", "↵").replaceAll("\t", "⇥");
}
