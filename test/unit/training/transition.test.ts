import { describe, expect, test } from "vitest";
import { type SeedMeasurement, TransitionWatch } from "../../../backend/training/transition.ts";

/** A score that jumps from 0 to 1 between steps 400 and 500, measured every 20 steps. */
const jump: SeedMeasurement[] = Array.from({ length: 51 }, (_, i) => {
  const step = 20 * i;
  const share = Math.min(1, Math.max(0, (step - 400) / 100));
  return { step, values: { loss: 4 - share, "in-context.accuracy": share, "induction.induction[1.3]": share } };
});
const SCHEDULE = new Set([0, 1, 10, 100, 1000]);

/** Steps at which a run is saved beside its schedule. */
function extra(
  measured: readonly SeedMeasurement[],
  most: number,
  watch = new TransitionWatch(most),
  from = -1,
): number[] {
  const found: number[] = [];
  for (let step = from + 1; step <= 1000; step++) {
    const here = measured.find((each) => each.step === step);
    if (here) watch.measured([here.values]);
    if (SCHEDULE.has(step)) watch.saved(true);
    else if (here && watch.asks) {
      watch.saved(false);
      found.push(step);
    }
  }
  return found;
}

describe("checkpoints inside a transition", () => {
  test("are saved where a watched metric moves, nowhere else, and no more often than allowed", () => {
    expect(extra(jump, 12)).toEqual([420, 440, 460, 480, 500]);
    expect(extra(jump, 3)).toEqual([420, 440, 460]);
    expect(extra(jump, 0)).toEqual([]);
  });

  test("follow accuracies and a probe's best head; losses, other metrics and what is no number ask for none", () => {
    const moved = (values: (share: number) => Record<string, number>) =>
      extra(
        jump.map(({ step, values: own }) => ({ step, values: values(own["in-context.accuracy"]!) })),
        12,
      ).length;
    expect(moved((share) => ({ loss: 4 - share, "in-context.loss": 4 - share }))).toBe(0);
    expect(moved((share) => ({ "attention-sink.importance[0.1]": share }))).toBe(0);
    expect(moved((share) => ({ "in-context.accuracy": share > 0 ? Number.NaN : 0 }))).toBe(0);
    // A head that falls behind a better one is not what is watched.
    expect(moved((share) => ({ "induction.induction[0.0]": 1, "induction.induction[0.1]": share }))).toBe(0);
    expect(moved((share) => ({ "induction.induction[0.0]": 0.2, "induction.induction[0.1]": share }))).toBe(4);
  });

  test("are those of the uninterrupted run where a run goes on from any of them", () => {
    const whole = extra(jump, 3);
    for (const from of [100, ...whole, 470]) {
      const watch = new TransitionWatch(3);
      const before = jump.filter(({ step }) => step <= from);
      watch.replay([before], SCHEDULE, from);
      expect(extra(jump, 3, watch, from)).toEqual(whole.filter((step) => step > from));
    }
  });
});
