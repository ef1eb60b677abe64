import { readFileSync } from "node:fs";
import type { ModelConfig } from "../../../backend/models/config.ts";
import { Model } from "../../../backend/models/model.ts";
import { tokenizerFromJson } from "../../../backend/models/tokenizers/files/json.ts";
import type { Tokenizer } from "../../../backend/models/tokenizers/tokenizer.ts";
import { fixture } from "../fixtures.ts";
import { randomModel, smallConfig } from "../models.ts";

/** A byte-level tokenizer of few words. */
export function smallTokenizer(): Tokenizer {
  const { tokenizer, config } = JSON.parse(readFileSync(fixture("tokenizers/gpt2.json"), "utf8"));
  return tokenizerFromJson(tokenizer, config);
}

/** A small model of random weights that takes and writes texts, by `smallTokenizer`. */
export function talkingModel(changes: Partial<ModelConfig> = {}, seed = 1): Model {
  const tokenizer = smallTokenizer();
  const model = randomModel(smallConfig({ n_ctx: 2048, d_vocab: tokenizer.size, ...changes }), seed);
  return new Model({
    ref: "talking",
    family: model.family,
    digest: model.digest,
    config: model.config,
    weights: model.weights,
    tokenizer,
  });
}
