import type { ClaimResult, ClaimStatement } from "../base.ts";
import { type Curve, crossing, mean, medianOf } from "../curves.ts";
import { QUORUM_WORDS, type Vote, vote } from "../verdicts.ts";
import type { StateArm } from "./arms.ts";

const KIRSCH = "Kirsch et al. 2022, General-Purpose In-Context Learning by Meta-Learning Transformers";

/** Least difference of two accuracies that counts. */
const MORE = 0.1;
/** Largest share of the larger state's gain that more parameters may bring. */
const MADE_UP = 0.5;
/** Largest share of the steps that a shorter plateau may take. */
const SHORTER = 0.8;

/** The phases: where a model is right about items of a sequence's task. */
export const PHASES = ["fails", "memorises", "identifies", "generalises"] as const;
export type Phase = (typeof PHASES)[number];

const PHASE_WORDS =
  "A model is right where its accuracy is half way from guessing to 1. It generalises where it is right about the last item of unseen tasks; else it memorises " +
  "where it is right about the first item of tasks of training; else it identifies where it is right about their last item.";

export const generalClaims: readonly ClaimStatement[] = [
  {
    id: "memorise",
    statement: "With few tasks a model remembers them: it is right before it has seen a label of the sequence, and on no unseen task.",
    source: `${KIRSCH}, section 4, phases`,
    check: `${PHASE_WORDS} With the fewest tasks the widest model memorises, ${QUORUM_WORDS}.`,
  },
  {
    id: "identify",
    statement: "With more tasks it finds out from the sequence which one it is in, which is of no use on an unseen task.",
    source: `${KIRSCH}, section 4, phases`,
    check: `With the middle number of tasks the widest model identifies, and its accuracy on the last item is at least ${MORE} above that on the first, ${QUORUM_WORDS}.`,
  },
  {
    id: "generalise",
    statement: "With very many tasks it learns from the sequence alone, on unseen tasks as well as on those of training.",
    source: `${KIRSCH}, section 4, phases`,
    check: `With the most tasks the widest model generalises, and its accuracy on unseen tasks is less than ${MORE} below that on tasks of training, ${QUORUM_WORDS}.`,
  },
  {
    id: "width",
    statement: "Generalising takes width.",
    source: `${KIRSCH}, section 4, model size`,
    check: `With the most tasks the narrowest model does not generalise, ${QUORUM_WORDS}. A seed whose widest model does not either cannot say.`,
  },
  {
    id: "state",
    statement: "A recurrence with more state, at as many parameters, is better on unseen tasks.",
    source: `${KIRSCH}, section 4, state size`,
    check: `The accuracy on unseen tasks is with the larger state at least ${MORE} above that with the smaller, ${QUORUM_WORDS}.`,
  },
  {
    id: "parameters",
    statement: "More parameters at the same state do not make up for it: the state decides.",
    source: `${KIRSCH}, section 4, state size`,
    check:
      `More parameters raise that accuracy by at most ${MADE_UP} of what the larger state raises it by, ${QUORUM_WORDS}. A seed in which the larger state ` +
      `raises it by less than ${MORE} cannot say.`,
  },
  {
    id: "batch",
    statement: "A larger batch shortens the plateau before a model generalises.",
    source: `${KIRSCH}, section 4, interventions`,
    check:
      `The accuracy on unseen tasks is right for good after at most ${SHORTER} of the steps that the smaller batch takes, ${QUORUM_WORDS}. A seed in which it never ` +
      "is with either cannot say.",
  },
  {
    id: "bias",
    statement: "So does biased data, in which a share of the sequences has the same order of labels.",
    source: `${KIRSCH}, section 4, interventions`,
    check: "As for the batch.",
  },
]; // biome-ignore format: sentences

/** Accuracies that a seed ends with. */
export interface PhaseSeed {
  /** First item of a sequence of a task of training. */
  readonly first: number;
  /** Last item of such a sequence. */
  readonly seen: number;
  /** Last item, held out, of such a task. */
  readonly newItems: number;
  /** Last item of a task that training never showed. */
  readonly unseen: number;
  /** Last item, held out, of such a task. */
  readonly allNew: number;
}

/** A cell of the phase diagram. */
export interface PhaseCell {
  readonly tasks: number;
  readonly width: number;
  readonly seeds: readonly PhaseSeed[];
}

/** The curves of the accuracy on unseen tasks, a seed each. */
export type PlateauCurves = Readonly<Record<"base" | "batch" | "bias", readonly Curve[]>>;

/** Accuracies on unseen tasks at the end, a seed each. */
export type StateAccuracies = Readonly<Record<StateArm, readonly number[]>>;

/** Everything that claims rest on. */
export interface GeneralResults {
  /** By rising number of tasks, then rising width. */
  readonly cells: readonly PhaseCell[];
  readonly states: StateAccuracies;
  readonly plateaus: PlateauCurves;
  /** Accuracy of guessing. */
  readonly chance: number;
}

/** Accuracy from which a model is right: half way from guessing to 1. */
export const rightFrom = (chance: number): number => (1 + chance) / 2;

/** The phase that a seed is in. */
export function phaseOf({ first, seen, unseen }: PhaseSeed, chance: number): Phase {
  const right = rightFrom(chance);
  if (unseen >= right) return "generalises";
  if (first >= right) return "memorises";
  return seen >= right ? "identifies" : "fails";
}

/** Decides the claims. */
export function judge({ cells, states, plateaus, chance }: GeneralResults): ClaimResult[] {
  return [...judgePhases(cells, chance), ...judgeStates(states), ...judgePlateaus(plateaus, chance)];
}

function judgePhases(cells: readonly PhaseCell[], chance: number): ClaimResult[] {
  const counts = [...new Set(cells.map(({ tasks }) => tasks))];
  const widest = cells.at(-1)!.width;
  const at = (tasks: number, width: number) => cells.find((cell) => cell.tasks === tasks && cell.width === width)!;
  const [few, middle, many] = [counts[0]!, counts[Math.floor(counts.length / 2)]!, counts.at(-1)!];
  const wide = at(many, widest);
  const narrow = at(many, cells[0]!.width);
  const is = (seed: PhaseSeed, phase: Phase) => phaseOf(seed, chance) === phase;
  /** @param what the vote is about */
  const about = (id: string, cell: PhaseCell, votes: Vote[], what: string): ClaimResult => ({
    id,
    measured: measuredOf(cell, chance),
    ...vote(votes, what, "the widest model does not generalise"),
  });
  const [fewest, between] = [at(few, widest), at(middle, widest)];
  return [
    about("memorise", fewest, fewest.seeds.map((seed) => is(seed, "memorises")), `${few} tasks are remembered`),
    about(
      "identify",
      between,
      between.seeds.map((seed) => is(seed, "identifies") && seed.seen >= seed.first + MORE),
      `one of ${middle} tasks is identified`,
    ),
    about(
      "generalise",
      wide,
      wide.seeds.map((seed) => is(seed, "generalises") && seed.unseen > seed.seen - MORE),
      `with ${many} tasks the model generalises`,
    ),
    about(
      "width",
      narrow,
      narrow.seeds.map((seed, s) => (is(wide.seeds[s]!, "generalises") ? !is(seed, "generalises") : undefined)),
      `width ${narrow.width} does not generalise and width ${widest} does`,
    ),
  ];
} // biome-ignore format: a claim a line

function measuredOf({ tasks, width, seeds }: PhaseCell, chance: number): Record<string, string | number> {
  const all = (of: (seed: PhaseSeed) => number) => mean(seeds.map(of));
  return {
    cell: `${tasks} tasks, width ${width}`,
    "accuracy on the first item, mean": all(({ first }) => first),
    "on the last, mean": all(({ seen }) => seen),
    "on the last, held out, mean": all(({ newItems }) => newItems),
    "on the last of unseen tasks, mean": all(({ unseen }) => unseen),
    "on the last of unseen tasks, held out, mean": all(({ allNew }) => allNew),
    "phase, by seed": seeds.map((seed) => phaseOf(seed, chance)).join(", "),
  };
}

function judgeStates(states: StateAccuracies): ClaimResult[] {
  const small = states["small state"];
  const gains = states["larger state"].map((accuracy, s) => accuracy - small[s]!);
  const others = states["more parameters"].map((accuracy, s) => accuracy - small[s]!);
  const measured = Object.fromEntries(
    Object.entries(states).map(([arm, seeds]) => [`accuracy on unseen tasks, ${arm}, mean`, mean(seeds)]),
  );
  return [
    {
      id: "state",
      measured,
      ...vote(
        gains.map((gain) => gain >= MORE),
        "the larger state is better",
        "",
      ),
    },
    {
      id: "parameters",
      measured,
      ...vote(
        gains.map((gain, s) => (gain >= MORE ? others[s]! <= MADE_UP * gain : undefined)),
        "more parameters do not make up for it",
        "a larger state does not help",
      ),
    },
  ];
}

function judgePlateaus(curves: PlateauCurves, chance: number): ClaimResult[] {
  const steps = (of: readonly Curve[]) => of.map((curve) => crossing(curve, rightFrom(chance)));
  const base = steps(curves.base);
  const about = (id: "batch" | "bias", what: string): ClaimResult => {
    const changed = steps(curves[id]);
    const measured = {
      "steps of the plateau, median": medianOf(base),
      "steps with the change, median": medianOf(changed),
      "seeds that leave it": `${base.filter((step) => step !== undefined).length} of ${base.length}`,
      "seeds that leave it with the change": `${changed.filter((step) => step !== undefined).length} of ${changed.length}`,
    };
    return { id, measured, ...vote(changed.map((step, s) => shorter(step, base[s])), what, "the plateau is never left") };
  };
  return [about("batch", "the large batch shortens the plateau"), about("bias", "biased data shorten the plateau")];
} // biome-ignore format: one line

/** Tells if a plateau is shorter than that of the base; undefined where neither is left. */
function shorter(step: number | undefined, base: number | undefined): Vote {
  if (step === undefined) return base === undefined ? undefined : false;
  return base === undefined || step <= SHORTER * base;
}
