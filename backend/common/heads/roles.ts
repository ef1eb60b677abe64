/** Roles of heads in a circuit that answers by a name or token of its prompt, those that move the answer first. */
export const HEAD_ROLES = [
  "name mover",
  "negative name mover",
  "S-inhibition",
  "copy suppression",
  "duplicate token",
  "induction",
  "previous token",
] as const;
/** One of `HEAD_ROLES`. */
export type HeadRole = (typeof HEAD_ROLES)[number];

/**
 * Measures that a role is suggested by. attention: share of a position's attention. direct: what of the metric the head carries to
 * the logits by itself, in the metric's unit. copying: logit of the token looked at, by the head's value there, in standard
 * deviations over the vocabulary. queries: what of the metric the head carries through the queries of the movers, in its unit.
 */
export const ROLE_MEASURES = ["attention", "direct", "copying", "queries"] as const;
/** One of `ROLE_MEASURES`. */
export type RoleMeasure = (typeof ROLE_MEASURES)[number];

/** Attention from which on a head counts as looking at a place: share of a position's, mean over the pairs. */
export const LOOKS = 0.3;
/** Share of what parts the clean from the corrupt metric from which on an effect counts. */
export const COUNTS = 0.02;
/** Standard deviations by which a copied token's logit lies above the vocabulary's mean, or a suppressed one's below. */
export const COPIES = 1;

/** Meaning of a role, and what it is read off. */
export interface RoleDefinition {
  /** One sentence. */
  readonly meaning: string;
  /** Place that it looks from, and the one that it looks at. */
  readonly from: string;
  readonly at: string;
  /** Measures besides attention that must count, with the direction that they must have. */
  readonly needs: Readonly<Partial<Record<RoleMeasure, 1 | -1>>>;
  readonly source: string;
}

const WANG = "Wang et al. 2022, Interpretability in the Wild, section 3";

/** Every role by its name. Places are read off the pair: S is the wrong answer, or else the last token, where it stands twice. */
export const ROLE_DEFINITIONS: Readonly<Record<HeadRole, RoleDefinition>> = {
  "name mover": {
    meaning: "Looks at the answer in the prompt and raises its logit.",
    from: "the last token",
    at: "the answer",
    needs: { direct: 1, copying: 1 },
    source: WANG,
  },
  "negative name mover": {
    meaning: "Looks at the answer in the prompt and lowers its logit.",
    from: "the last token",
    at: "the answer",
    needs: { direct: -1, copying: -1 },
    source: WANG,
  },
  "S-inhibition": {
    meaning: "Looks at the second S and turns the movers' queries away from it.",
    from: "the last token",
    at: "the second S",
    needs: { queries: 1 },
    source: WANG,
  },
  "copy suppression": {
    meaning: "Looks at the wrong answer in the prompt and lowers its logit.",
    from: "the last token",
    at: "the wrong answer",
    needs: { direct: 1, copying: -1 },
    source: "McDougall et al. 2023, Copy Suppression",
  },
  "duplicate token": {
    meaning: "Looks from the second S back at the first.",
    from: "the second S",
    at: "the first S",
    needs: {},
    source: WANG,
  },
  induction: {
    meaning: "Looks from the second S at the token after the first.",
    from: "the second S",
    at: "the token after the first S",
    needs: {},
    source: `Olsson et al. 2022, In-context Learning and Induction Heads; ${WANG}`,
  },
  "previous token": {
    meaning: "Looks from each token at the one before.",
    from: "each token",
    at: "the token before",
    needs: {},
    source: WANG,
  },
};
