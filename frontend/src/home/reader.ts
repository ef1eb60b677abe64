import type { ModelEntry, ModelInfo } from "../../../backend/common/api/models.ts";

/** Lists of models and runs as the workspace has it. */
interface Models {
  /** The one that is worked with; "" until known. */
  readonly model: string;
  readonly info: { readonly value: Pick<ModelInfo, "tokenizer"> | undefined };
  readonly models: { readonly value: readonly ModelEntry[] | undefined };
}

/** Kinds of models that read text, the surer ones first; runs and built-in models take token ids only. */
const READERS = ["package", "hub", "opened"] as const satisfies readonly ModelEntry["kind"][];

/**
 * The model for a question in words: the one that is worked with unless it takes token ids only, else one that is here and of a
 * kind that reads text.
 * @returns undefined where there is none
 */
export function readerOf({ model, info, models }: Models): string | undefined {
  const ready = (models.value ?? []).filter((each) => each.ready);
  const kind = ready.find(({ ref }) => ref === model)?.kind;
  const reads = info.value ? info.value.tokenizer !== undefined : READERS.some((each) => each === kind);
  if (reads) return model;
  const others = READERS.flatMap((each) => ready.filter((entry) => entry.kind === each && entry.ref !== model));
  return others[0]?.ref;
}
