import type { HeadContext, HeadContexts } from "../../circuits/corpus/contexts.ts";
import { counted } from "../../common/text.ts";
import type { Model } from "../../models/model.ts";
import { bold, number, quoted, right, table, tokenText } from "./format.ts";

/** Tokens shown before a key and behind it. */
const AROUND = 4;

interface Corpus {
  readonly model: Model;
  readonly tokens: readonly (readonly number[])[];
}

/** Contexts of heads for people. */
export function contextsText(heads: readonly HeadContexts[], corpus: Corpus): string {
  const { model, tokens } = corpus;
  return [
    `${bold("contexts")} in ${model.ref}: ${counted(tokens.length, "row")} of ${tokens[0]!.length} tokens`,
    ...heads.flatMap((one) => ["", headText(one, corpus)]),
  ].join("\n");
}

function headText({ head, contexts, first, distance, entropy }: HeadContexts, corpus: Corpus): string {
  const rows = contexts.map((one) => [number(one.weight), String(one.row), ...placesOf(one, corpus)]);
  const columns = [right("attention"), right("row"), "query", "key", right("back"), "around the key"];
  const percent = (share: number): string => `${Math.round(100 * share)} %`;
  const range = (from: number, to: number): string => (from === to ? String(to) : `${from}-${to}`);
  return [
    `${bold(head)}: ${percent(first)} of its attention to the first token, the rest ${number(distance.mean, 1)} tokens back on average; entropy ${number(entropy.mean, 2)} nats (even attention ${number(entropy.even, 2)})`,
    `  beside the first token, by distance: ${distance.shares.map(({ from, to, share }) => `${range(from, to)}: ${percent(share)}`).join("  ")}`,
    table(columns, rows, "  "),
  ].join("\n");
}

function placesOf({ row, query, key }: HeadContext, { model, tokens }: Corpus): string[] {
  const ids = tokens[row]!;
  const token = (position: number): string => tokenText(model, ids[position]!);
  const around = ids.slice(Math.max(0, key - AROUND), key + AROUND + 1);
  const text = model.tokenizer ? quoted(model.tokenizer.decode([...around]), 50) : around.join(" ");
  return [`${token(query)} at ${query}`, token(key), String(query - key), text];
}
