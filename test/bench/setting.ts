import type { WeightType } from "../../backend/common/words.ts";
import { loadModel } from "../../backend/models/load.ts";
import type { Model } from "../../backend/models/model.ts";
import { PairFile } from "./pair-file.ts";
import { Rivals } from "./rivals.ts";

/** The model of the bench. */
export const MODEL = "smollm2-135m";

/** Files and programs that a run of the bench is given. */
export interface Given {
  /** The checkpoint that both sides run. */
  gguf: string;
  /** Python of an environment with test/bench/python/requirements.txt; without it rows have no rival there. */
  python?: string | undefined;
  /** A checkout of https://github.com/hannamw/EAP-IG, which no registry has. */
  eapIg?: string | undefined;
}

/** What the rows of a run share, each made on first use. */
export class Setting {
  readonly given: Given;
  readonly #models = new Map<WeightType, Promise<Model>>();
  #rivals: Rivals | undefined;
  #pairs: Promise<PairFile> | undefined;

  constructor(given: Given) {
    this.given = given;
  }

  model(weights: WeightType): Promise<Model> {
    const held = this.#models.get(weights) ?? loadModel(MODEL, { weights });
    this.#models.set(weights, held);
    return held;
  }

  /** Pairs of the IOI task in token ids. */
  pairs(): Promise<PairFile> {
    this.#pairs ??= this.model("f32").then((model) => new PairFile(model, 32));
    return this.#pairs;
  }

  /** The rivals' process; undefined without Python. */
  get rivals(): Rivals | undefined {
    const { python, gguf } = this.given;
    if (python !== undefined) this.#rivals ??= new Rivals(python, gguf);
    return this.#rivals;
  }

  /** A measurement of test/bench/python/rivals.py. */
  rival(name: string): () => Promise<number | undefined> {
    return async () => this.rivals?.measure(name);
  }

  /** Ends the rivals' process and removes files. */
  async close(): Promise<void> {
    this.#rivals?.close();
    (await this.#pairs)?.remove();
  }
}
