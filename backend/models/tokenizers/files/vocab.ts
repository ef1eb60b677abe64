import { HeadscopeError } from "../../../common/errors.ts";
import { Bpe } from "../models/bpe.ts";
import { vocabularyOf } from "../models/token-model.ts";
import type { Tokenizer } from "../tokenizer.ts";
import { tokenizerClass } from "./classes.ts";
import { folderTokenizer, type TokenizerSettings } from "./json.ts";

/**
 * The tokenizer of a folder that has vocab.json and merges.txt (byte-level BPE in the cut of its class).
 * @param vocab parsed vocab.json: tokens and their ids
 * @param merges merges.txt: a pair a line, best first
 * @throws HeadscopeError "unsupported" for a class whose cut the files don't say, "corrupt" for damaged ones
 */
export function tokenizerFromVocab(
  vocab: Readonly<Record<string, unknown>>,
  merges: string,
  settings: TokenizerSettings,
): Tokenizer {
  const name = settings.config?.["tokenizer_class"] ?? settings.modelType;
  const tokenizerKind = tokenizerClass(settings.config?.["tokenizer_class"], settings.modelType);
  if (tokenizerKind === undefined)
    throw new HeadscopeError(
      "unsupported",
      `the tokenizer is vocab.json and merges.txt of ${JSON.stringify(name ?? null)}, which don't say how texts are cut`,
      { remedy: "write tokenizer.json with AutoTokenizer(...).save_pretrained" },
    );
  const vocabulary = vocabularyOf(vocab);
  const pairs = merges.split(/\r?\n/).filter((line) => line !== "" && !line.startsWith("#version"));
  const model = new Bpe(vocabulary, pairs, { fuse_unk: false, byte_fallback: false, ignore_merges: false });
  return folderTokenizer(tokenizerKind.steps(settings.config?.["add_prefix_space"] === true), settings, {
    own: { vocabulary, model },
  });
}
