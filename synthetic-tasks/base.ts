import type { z } from "zod";
import { HeadscopeError } from "../backend/common/errors.ts";
import type { SyntheticTask, TaskShape } from "../backend/training/task.ts";

/** A task as it is written: its own types are inferred, so that the definition reads like the paper. */
export function task<S extends z.ZodObject, W>(definition: SyntheticTask<S, W>): SyntheticTask<S, W> {
  return definition;
}

/** Token ids in, and at every position logits over the same ids out. */
export function tokenShape({ context, vocabulary }: { context: number; vocabulary: number }): TaskShape {
  return {
    input: { kind: "tokens", vocabulary },
    output: { kind: "classes", count: vocabulary },
    positions: context,
    scored: "all",
  };
}

/** Refuses parameters that contradict each other. @param field their names @param constraint what must hold, with the values that break it */
export function impossible(task: string, field: readonly string[], constraint: string, remedy: string): HeadscopeError {
  return new HeadscopeError("usage", `${task}: ${constraint}`, { remedy, field });
}

/** Numbers for people, in columns of one width: two decimals. */
export function fixed(values: Iterable<number>, digits = 2): string {
  return Array.from(values, (value) => value.toFixed(digits).padStart(digits + 4)).join(" ");
}
