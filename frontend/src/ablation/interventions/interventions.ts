import { ABLATION_METHODS, type AblationMethod } from "../../../../backend/common/words.ts";
import type { Intervention } from "../../../../backend/hooks/intervention-schema.ts";
import { groupBy } from "../../components/head-grid/grid.ts";
import { sortHeads } from "../../state/codecs.ts";

/** Token rows, [rows][positions]. */
export type Rows = readonly (readonly number[])[];

/** A set of heads taken out in one way. */
export interface HeadAblation {
  /** LAYER.HEAD. */
  readonly heads: readonly string[];
  readonly method: AblationMethod;
  /** mean: one for every position. */
  readonly byPosition: boolean;
  /** Of resample's pairing. */
  readonly seed: number;
  /** What mean and resample draw from. */
  readonly reference: Rows;
}

/** An intervention of any kind in the list of the page; `off` keeps it there without doing it. */
export interface Extra {
  readonly intervention: Intervention;
  readonly off?: true;
}

/** The set as data, an entry a layer, as POST /api/intervene and a script's runWithHooks take it. */
export function asInterventions(ablation: HeadAblation): Intervention[] {
  const { method, byPosition, seed, reference } = ablation;
  const byLayer = groupBy(sortHeads(ablation.heads), (head) => Number(head.split(".")[0]));
  return [...byLayer].map(([layer, heads]) => ({
    at: `blocks.${layer}.attn.hook_z`,
    heads: heads.map((head) => Number(head.split(".")[1])),
    do: method,
    ...(method === "zero" ? {} : { with: { tokens: reference.map((row) => [...row]) } }),
    ...(method === "mean" && byPosition ? { byPosition } : {}),
    ...(method === "resample" && seed !== 0 ? { seed } : {}),
  }));
}

/** Everything that is switched on, in the order in which it is done: the heads, then the others as listed. */
export function activeInterventions(ablation: HeadAblation, extras: readonly Extra[]): Intervention[] {
  return [...asInterventions(ablation), ...extras.filter(({ off }) => !off).map(({ intervention }) => intervention)];
}

/** What a JSON text of interventions stands for on the page. */
export interface ReadInterventions {
  readonly heads: readonly string[];
  /** Absent where no entry takes out whole heads. */
  readonly method?: AblationMethod;
  readonly byPosition: boolean;
  readonly seed: number;
  readonly extras: readonly Extra[];
}

/**
 * Reads interventions back: entries that take out heads everywhere and in the same way become the set of heads, all others
 * stay as they are. What they mean is checked by the server.
 * @param reference that mean and resample draw from on the page; entries with another one stay as they are
 * @throws Error for text that is no JSON array of interventions, in words for the reader
 */
export function readInterventions(text: string, reference: Rows): ReadInterventions {
  const entries = parseEntries(text);
  const first = entries.flatMap((entry) => headsOf(entry, reference) ?? [])[0];
  const heads: string[] = [];
  const extras: Extra[] = [];
  for (const entry of entries) {
    const found = headsOf(entry, reference);
    if (found !== undefined && found.way === first?.way) heads.push(...found.heads);
    else extras.push({ intervention: entry });
  }
  return {
    heads: sortHeads(heads),
    ...(first === undefined ? {} : { method: first.method }),
    byPosition: first?.byPosition ?? false,
    seed: first?.seed ?? 0,
    extras,
  };
}

/** One intervention or an array of them. @throws Error in words for the reader */
export function parseEntries(text: string): Intervention[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${(error as Error).message}`);
  }
  const entries: unknown[] = Array.isArray(value) ? value : [value];
  entries.forEach((entry, i) => {
    if (typeof entry !== "object" || entry === null || Array.isArray(entry))
      throw new Error(
        `Entry ${i} is not an object such as {"at": "blocks.5.attn.hook_z", "heads": [1], "do": "zero"}.`,
      );
    for (const name of ["at", "do"])
      if (typeof (entry as Record<string, unknown>)[name] !== "string")
        throw new Error(`Entry ${i} has no "${name}": a hook name stands in "at", what is done in "do".`);
  });
  return entries as Intervention[];
}

interface WholeHeads {
  readonly heads: string[];
  readonly method: AblationMethod;
  readonly byPosition: boolean;
  readonly seed: number;
  /** Equal for entries that one set of heads can stand for. */
  readonly way: string;
}

/** The heads that an entry takes out at every position, and how; undefined for any other entry. */
function headsOf(entry: Intervention, reference: Rows): WholeHeads | undefined {
  const method = ABLATION_METHODS.find((each) => each === entry.do);
  const hook = /^(?:blocks\.(\d+)\.)?attn\.hook_z$/.exec(entry.at);
  const layer = hook?.[1] ?? entry.layer;
  if (method === undefined || hook === null || layer === undefined || !Array.isArray(entry.heads)) return undefined;
  if ([entry.positions, entry.rows].some((some) => some !== undefined && some !== "all")) return undefined;
  const drawn = method === "zero" ? undefined : { tokens: reference };
  if (JSON.stringify(entry.with) !== JSON.stringify(drawn)) return undefined;
  const byPosition = method === "mean" && entry.byPosition === true;
  const seed = method === "resample" ? (entry.seed ?? 0) : 0;
  const heads = entry.heads.map((head) => `${layer}.${head}`);
  return { heads, method, byPosition, seed, way: `${method} ${byPosition} ${seed}` };
}

/** An intervention in one line: "scale at blocks.0.hook_mlp_out, positions 0 1". */
export function interventionWords(one: Intervention): string {
  const some = (name: string, which: Intervention["heads"]): string =>
    which === undefined || which === "all" ? "" : `, ${name} ${which.join(" ")}`;
  const at = one.layer === undefined ? one.at : `${one.at} of layer ${one.layer}`;
  const amount = typeof one.with === "number" ? ` ${one.do === "scale" ? "by " : ""}${one.with}` : "";
  const where = `${some("heads", one.heads)}${some("positions", one.positions)}${some("keys", one.keys)}`;
  return `${one.do}${amount} at ${at}${where}`;
}

/** Takes the first token away from every query of a layer; the first itself then attends to nothing. */
function withoutFirst(layer: number): Intervention {
  return { at: `blocks.${layer}.attn.hook_attn_scores`, keys: [0], do: "knock-out" };
}

/** Beginnings for the editor, by the name of what they show: one intervention or several. @param positions tokens of the prompt */
export function templates(
  layers: number,
  positions: number,
): Readonly<Record<string, Intervention | readonly Intervention[]>> {
  const middle = Math.floor(layers / 2);
  const last = Math.max(0, positions - 1);
  return {
    "Half of a layer's attention": { at: `blocks.${middle}.hook_attn_out`, do: "scale", with: 0.5 },
    "No MLP in a layer": { at: `blocks.${middle}.hook_mlp_out`, do: "zero" },
    "One head at one position": { at: `blocks.${middle}.attn.hook_z`, heads: [0], positions: [last], do: "zero" },
    "Add to the residual stream": { at: `blocks.${middle}.hook_resid_pre`, positions: [last], do: "add", with: 0.1 },
    "Put a number in place": { at: `blocks.${middle}.attn.hook_z`, heads: [0], do: "patch", with: 0 },
    "Keep a layer's attention as it was": { at: `blocks.${middle}.attn.hook_pattern`, do: "freeze-pattern" },
    "No attention to the first token in a layer": withoutFirst(middle),
    "No attention to the first token": Array.from({ length: layers }, (_, layer) => withoutFirst(layer)),
  };
}
