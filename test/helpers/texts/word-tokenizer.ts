import type { ChatMessage, Tokenizer } from "../../../backend/models/tokenizers/tokenizer.ts";

/** A conversation as the tokenizer's template writes it. */
export function wordChat(messages: readonly ChatMessage[], addGenerationPrompt = false): string {
  const turns = messages.map(({ role, content }) => `<${role}>\n${content}<end>\n`).join("");
  return `<system>\nYou help.<end>\n${turns}${addGenerationPrompt ? "<assistant>\n" : ""}`;
}

/**
 * A tokenizer of words: every word with the space before it is a token; digits and other characters are tokens of their own.
 * @param options.chats whether it has a chat template, default false
 */
export function wordTokenizer({ chats = false }: { chats?: boolean } = {}): Tokenizer {
  const ids = new Map<string, number>([["<bos>", 0]]);
  const encode: Tokenizer["encode"] = (text, { prependBos = true } = {}) => {
    const words = text.match(/<\w+>| ?\p{L}+| ?[^\p{L}]/gu) ?? [];
    return [...(prependBos ? ["<bos>"] : []), ...words].map((word) => {
      if (!ids.has(word)) ids.set(word, ids.size);
      return ids.get(word)!;
    });
  };
  const word = (id: number): string => [...ids.keys()][id]!;
  const tokenizer: Partial<Tokenizer> = {
    ...{ encode, chats, bos: 0, front: [0], behind: [] },
    decode: (row) => row.map(word).join(""),
    chat: (messages, { addGenerationPrompt } = {}) => wordChat(messages, addGenerationPrompt),
  };
  return tokenizer as Tokenizer;
}
